"""The work on one image: reduced, enlarged by every method, timed, scored, and kept where asked for."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from srcli.bench import lineup, scoring
from srcli.bench.plan import Plan, Unit
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.bench.results import Failure, ImageScore, Row, mean_row
from srcli.bench.scoring import Pair
from srcli.datasets import Picture, read_picture
from srcli.errors import SrError
from srcli.imaging.image import Image, write_image
from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.methods import Method
from srcli.workers.distribute import JobFunction

Scored = ImageScore | Failure


@dataclass(frozen=True)
class Share:
    """What a worker is given of a bench: an image, and the methods that it was scored for before."""

    unit: Unit
    done: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return str(self.unit)


def begin(plan: Plan, device: str | None) -> JobFunction[Share, list[Scored]]:
    """What a worker that has this device does with its shares."""
    options = replace(plan.field.options, device=device)
    own = replace(plan, field=replace(plan.field, options=options))
    return lambda share, again: list(scores(own, share.unit, share.done))


def lost(plan: Plan, share: Share, reason: str) -> list[Scored]:
    """The failures of an image whose workers were ended each time."""
    names = [each.name for each in plan.field.at(share.unit.scale) if each.name not in share.done]
    return [_failure(share.unit, name, reason) for name in names]


def inputs(unit: Unit, plan: Plan) -> tuple[Picture, Pixels, Callable[[Pixels], Pixels]]:
    """The truth, cropped to a multiple of the scale; its low resolution; and what made this of that.

    What made a low resolution that is given is unknown: the protocol's own reduction stands for it.
    """
    found = read_picture(unit.file, unit.lr)
    hr = crop_to_multiple(found.pixels, unit.scale)
    reduction = replace(plan.reduction, degrade="") if unit.lr else plan.reduction
    reduce = reduction.of(unit.image, unit.scale)
    return replace(found, pixels=hr), reduce(hr) if found.lr is None else found.lr, reduce


def scores(plan: Plan, unit: Unit, done: Collection[str] = ()) -> Iterator[Scored]:
    """Every method's score on an image, or its failure, but for those named in `done`."""
    wanted = [method for method in lineup.ready(plan.field, unit.scale) if method.name not in done]
    if not wanted:
        return
    try:
        truth, lr, reduce = inputs(unit, plan)
        if plan.lr_folder:
            _keep(plan.lr_folder, unit, "", lr)
    except SrError as error:
        if error.affects_all:
            raise
        yield from (_failure(unit, method.name, error.message) for method in wanted)
        return
    for method in wanted:
        try:
            yield _score(plan, unit, method, truth, lr, reduce)
        except SrError as error:
            if error.affects_all:
                raise
            yield _failure(unit, method.name, error.message)
        except MemoryError:
            yield _failure(unit, method.name, "not enough memory")


def _failure(unit: Unit, method: str, reason: str) -> Failure:
    return Failure(unit.dataset, unit.scale, method, unit.image, reason)


def _score(
    plan: Plan, unit: Unit, method: Method, truth: Picture, lr: Pixels, reduce: Callable[[Pixels], Pixels]
) -> ImageScore:
    start = time.perf_counter()
    sr = method(lr, unit.scale)
    seconds = time.perf_counter() - start
    if plan.sr_folder:
        _keep(plan.sr_folder, unit, method.name, np.clip(sr, 0, 1))
    pair = Pair(sr, truth.pixels, scoring.border_of(unit.scale), truth.grey, lr, reduce)
    figures = {metric.key: metric.measure(pair) for metric in plan.measured}
    return ImageScore(unit.dataset, unit.scale, method.name, unit.image, figures, seconds)


def _keep(folder: Path, unit: Unit, method: str, pixels: Pixels) -> None:
    """Write an image as PNG into FOLDER/SET/xSCALE, in a folder of its method."""
    place = folder / unit.dataset / f"x{unit.scale}" / method.replace("/", "_")
    write_image(place / f"{Path(unit.image).with_suffix('').as_posix().replace('/', '_')}.png", Image(pixels))


def evaluate(method: Method, pictures: Iterable[Picture], scale: float, reduction: Reduction = Y_CROP) -> Row:
    """Mean scores of one method by y-crop, for validation during training."""
    scores = [score_picture(method, each, scale, reduction) for each in pictures]
    return mean_row(scores, method.params, method.description)


def score_picture(method: Method, truth: Picture, scale: float, reduction: Reduction = Y_CROP) -> ImageScore:
    """One method on one image: reduced, enlarged, timed, scored."""
    hr = crop_to_multiple(truth.pixels, scale)
    lr = reduction.of(truth.name, scale)(hr)
    start = time.perf_counter()
    sr = method(lr, scale)
    seconds = time.perf_counter() - start
    figures = scoring.score(sr, hr, scoring.border_of(scale), truth.grey)._asdict()
    return ImageScore("", scale, method.name, truth.name, figures, seconds)
