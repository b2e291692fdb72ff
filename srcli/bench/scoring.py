"""Scoring one image: downscale it, upscale it by every method, time and measure the results."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from srcli.bench import metrics
from srcli.bench.lineup import load_lineup
from srcli.bench.metrics import Pair
from srcli.bench.plan import ImageTask, Plan
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.bench.results import Failure, ImageScore, Row, average_scores
from srcli.datasets import Picture, read_picture
from srcli.errors import SrError, wrap_exception
from srcli.imaging.image import Image, write_image
from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.methods import Method
from srcli.workers.distribute import JobFunction

ScoreOrFailure = ImageScore | Failure


@dataclass(frozen=True)
class WorkItem:
    """A job for a worker: an image, and the names of the methods that were scored on it before."""

    task: ImageTask
    done: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return str(self.task)


def start_worker(plan: Plan, device: str | None) -> JobFunction[WorkItem, list[ScoreOrFailure]]:
    """Return what a worker with this device does with its items."""
    options = replace(plan.lineup.options, device=device)
    own = replace(plan, lineup=replace(plan.lineup, options=options))
    return lambda item, again: list(score_task(own, item.task, item.done))


def fail_item(plan: Plan, item: WorkItem, reason: str) -> list[ScoreOrFailure]:
    """Return the failures of an image that no worker survived."""
    names = [each.name for each in plan.lineup.at_scale(item.task.scale) if each.name not in item.done]
    return [_fail(item.task, name, reason) for name in names]


def score_task(plan: Plan, task: ImageTask, done: Collection[str] = ()) -> Iterator[ScoreOrFailure]:
    """Yield the score, or the failure, of each method on an image, without those named in `done`."""
    methods = [method for method in load_lineup(plan.lineup, task.scale) if method.name not in done]
    if not methods:
        return
    try:
        inputs = prepare_inputs(plan, task)
        if plan.lr_folder:
            _save(plan.lr_folder, task, "", inputs.lr)
    except Exception as error:
        failure = _wrap_unless_all(error, task)
        yield from (_fail(task, method.name, failure.message) for method in methods)
        return
    for method in methods:
        try:
            yield _score(plan, task, method, inputs)
        except Exception as error:
            yield _fail(task, method.name, _wrap_unless_all(error, task).message)


def _wrap_unless_all(error: Exception, task: ImageTask) -> SrError:
    """Return the failure of one image. Raises it if every other image would fail in the same way."""
    failure = wrap_exception(error, task.image)
    if failure.affects_all:
        raise failure from error
    return failure


@dataclass(frozen=True)
class Inputs:
    """The truth, cropped to a multiple of the scale, its low resolution, and how one is made of the other."""

    truth: Picture
    lr: Pixels
    reduce: Callable[[Pixels], Pixels]


def prepare_inputs(plan: Plan, task: ImageTask) -> Inputs:
    """Read an image and read or make its low resolution.

    How a given low resolution was made is unknown; the protocol's own way stands in for it.
    """
    picture = read_picture(task.file, task.lr, plan.max_pixels)
    hr = crop_to_multiple(picture.pixels, task.scale)
    reduction = replace(plan.reduction, degrade="") if task.lr else plan.reduction
    reduce = reduction.make_reducer(task.image, task.scale)
    return Inputs(replace(picture, pixels=hr), reduce(hr) if picture.lr is None else picture.lr, reduce)


def _score(plan: Plan, task: ImageTask, method: Method, inputs: Inputs) -> ImageScore:
    start = time.perf_counter()
    sr = method(inputs.lr, task.scale)
    seconds = time.perf_counter() - start
    if plan.sr_folder:
        _save(plan.sr_folder, task, method.name, np.clip(sr, 0, 1))
    truth, border = inputs.truth, metrics.compute_border(task.scale)
    pair = Pair(sr, truth.pixels, border, truth.grey, inputs.lr, inputs.reduce)
    figures = {metric.key: metric.measure(pair) for metric in plan.measured_metrics}
    return ImageScore(task.dataset, task.scale, method.name, task.image, figures, seconds)


def _fail(task: ImageTask, method: str, reason: str) -> Failure:
    return Failure(task.dataset, task.scale, method, task.image, reason)


def _save(folder: Path, task: ImageTask, method: str, pixels: Pixels) -> None:
    """Write an image as FOLDER/SET/xSCALE/METHOD/IMAGE.png."""
    place = folder / task.dataset / f"x{task.scale}" / method.replace("/", "_")
    name = Path(task.image).with_suffix("").as_posix().replace("/", "_")
    write_image(place / f"{name}.png", Image(pixels))


def evaluate(method: Method, pictures: Iterable[Picture], scale: float, reduction: Reduction = Y_CROP) -> Row:
    """Return the mean PSNR-Y and SSIM-Y of one method, for validation during training."""
    scores = [score_picture(method, each, scale, reduction) for each in pictures]
    return average_scores(scores, method.params, method.description)


def score_picture(
    method: Method, picture: Picture, scale: float, reduction: Reduction = Y_CROP
) -> ImageScore:
    """Upscale one image, downscaled before unless its low resolution is given, and return time and scores."""
    hr = crop_to_multiple(picture.pixels, scale)
    lr = reduction.make_reducer(picture.name, scale)(hr) if picture.lr is None else picture.lr
    start = time.perf_counter()
    sr = method(lr, scale)
    seconds = time.perf_counter() - start
    figures = metrics.score(sr, hr, metrics.compute_border(scale), picture.grey)._asdict()
    return ImageScore("", scale, method.name, picture.name, figures, seconds)
