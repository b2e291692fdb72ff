"""Dry runs: the size, time and memory that each image of a batch would take."""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from srcli.batch.events import Emit, ImageFailed, ImageSkipped, Preparation, SkipReason
from srcli.batch.planning import OutputGuard
from srcli.batch.prepare import prepare
from srcli.batch.request import UpscaleRequest
from srcli.batch.work import BatchSettings, find_skip_reason, make_upscale_settings
from srcli.engine.device import count_threads
from srcli.engine.measurements import describe_machine, measure_once
from srcli.engine.runtimes.select import find_name
from srcli.errors import UsageError, wrap_exception
from srcli.imaging.codecs.orientation import TRANSPOSED
from srcli.imaging.codecs.reading import read_frames, read_info
from srcli.imaging.image import Image, write_image
from srcli.imaging.metadata.exif import read_orientation
from srcli.imaging.size import Size
from srcli.storage.locations import open_local_copy
from srcli.upscaling.estimate import Estimate, PlannedImage, estimate_image
from srcli.upscaling.files import UpscaleSettings, choose_model, compute_scale, decide_streaming, needs_method
from srcli.upscaling.limits import choose_max_pixels
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore

# Trials that take longer, in seconds, are told.
_LONG = 0.5


@dataclass(frozen=True)
class TaskEstimate:
    """The estimate of one image, and what would run it; sizes as (width, height)."""

    task: UpscaleTask
    input_size: Size
    output_size: Size
    estimate: Estimate
    scale: float = 1
    runtime: str = ""


def estimate_batch(
    request: UpscaleRequest, emit: Emit = ignore, *, with_start: bool = True
) -> Iterator[TaskEstimate]:
    """Yield the estimate of each image of a request; emit `ImageFailed` for those that cannot be read.

    `with_start`: the start of the program and the loading of the model are part of the first image's time.
    Raises the failure if there is only one image, and what every image would fail by.
    """
    for option, is_given in {"--job": request.policy.job, "--watch": request.policy.watch}.items():
        if is_given:
            raise UsageError(f"--dry-run cannot be used with {option}", "leave out one of them")
    batch = prepare(request, emit)
    if batch.tasks is None:
        raise UsageError("--dry-run needs local files", "the number of images has to be known in advance")
    settings, guard = make_upscale_settings(batch.settings, emit), OutputGuard(in_place=batch.layout.in_place)
    for task in batch.tasks:
        begun = time.perf_counter()
        try:
            guard.check(task)
            with open_local_copy(task.source) as source:
                found = find_skip_reason(source, task, batch.settings) or _estimate_task(
                    task, source, settings
                )
        except Exception as error:
            failure = wrap_exception(error, task.source)
            if failure.affects_all or len(batch.tasks) == 1:
                raise failure from error
            emit(ImageFailed(task, failure))
            continue
        if isinstance(found, SkipReason):
            emit(ImageSkipped(task, found))
        else:
            start = _find_start(batch.settings, found) if with_start else 0.0
            with_start = False
            seconds = time.perf_counter() - begun
            if seconds > _LONG:
                emit(Preparation(f"trials of {found.estimate.model} on this machine", seconds))
            yield replace(found, estimate=replace(found.estimate, seconds=start + found.estimate.seconds))


def _find_start(settings: BatchSettings, found: TaskEstimate) -> float:
    """Return the seconds to start the program and load the model, measured once on each machine."""
    options, weights = settings.options, settings.fingerprint.weights
    chosen = ["-w", str(weights)] if weights else ["-m", found.estimate.model]
    chosen += ["--device", options.device] if options.device else []
    chosen += ["--runtime", found.runtime] if found.runtime else []
    chosen += ["-x", f"{found.scale:g}"]
    facts = ("start", *chosen, sys.executable, count_threads(), describe_machine())
    return measure_once(facts, lambda: {"seconds": _measure_start(chosen)})["seconds"]


def _measure_start(options: Sequence[str]) -> float:
    """Return the seconds of a command that upscales a few pixels, the better of two runs."""
    best = math.inf
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.png")
        write_image(source, Image(np.zeros((8, 8, 3), np.float32)))
        words = ["upscale", str(source), "-o", str(source.with_name("out.png")), "--overwrite", "--quiet"]
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "srcli", *words, *options], check=False, capture_output=True
            )
            best = min(best, time.perf_counter() - start)
    return best


def _estimate_task(task: UpscaleTask, source: Path, settings: UpscaleSettings) -> TaskEstimate:
    """Estimate from the header, and from the pixels if they decide on the model."""
    info = read_info(source)
    if settings.choose:
        max_pixels = choose_max_pixels(source, settings.max_pixels)
        samples = next(iter(read_frames(source, max_pixels))).samples
        info = replace(info, size=(samples.shape[1], samples.shape[0]))
        settings = choose_model(samples, settings)
    elif read_orientation(info.metadata.exif or b"") in TRANSPOSED:
        info = replace(info, size=info.size[::-1])
    size = settings.target.resolve(info.size)
    scale = compute_scale(info.size, size, settings.target)
    streamed = decide_streaming(info.frames, info.size, size, settings)
    needs_whole = bool(settings.postprocess.whole_image_options)
    image = PlannedImage(info, size, scale, streamed, needs_whole)
    method = settings.load_method(scale) if needs_method(scale, settings.target) else None
    runtime = find_name(method.stages[0].runtime) if method and method.stages else ""
    return TaskEstimate(task, info.size, size, estimate_image(method, image), scale, runtime)
