"""Dry runs: the size, time and memory that each image of a batch would take."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from srcli.batch.events import Emit, ImageFailed, ImageSkipped, SkipReason
from srcli.batch.planning import OutputGuard
from srcli.batch.prepare import prepare
from srcli.batch.request import UpscaleRequest
from srcli.batch.work import find_skip_reason, make_upscale_settings
from srcli.engine.limits import choose_max_pixels
from srcli.errors import UsageError, wrap_exception
from srcli.imaging.codecs.orientation import TRANSPOSED
from srcli.imaging.codecs.reading import read_frames, read_info
from srcli.imaging.metadata.exif import read_orientation
from srcli.imaging.size import Size
from srcli.storage.locations import open_local_copy
from srcli.upscaling.estimate import Estimate, PlannedImage, estimate_image
from srcli.upscaling.files import UpscaleSettings, choose_model, compute_scale, decide_streaming, needs_method
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore


@dataclass(frozen=True)
class TaskEstimate:
    """The estimate of one image; sizes as (width, height)."""

    task: UpscaleTask
    input_size: Size
    output_size: Size
    estimate: Estimate


def estimate_batch(
    request: UpscaleRequest, emit: Emit = ignore, *, count_operations: bool = True
) -> Iterator[TaskEstimate]:
    """Yield the estimate of each image of a request; emit `ImageFailed` for those that cannot be read.

    PyTorch is loaded to count the operations of long work, unless `count_operations` is false. Raises the
    failure if there is only one image, and what every image would fail by.
    """
    for option, is_given in {"--job": request.policy.job, "--watch": request.policy.watch}.items():
        if is_given:
            raise UsageError(f"--dry-run cannot be used with {option}", "leave out one of them")
    batch = prepare(request, emit)
    if batch.tasks is None:
        raise UsageError("--dry-run needs local files", "the number of images has to be known in advance")
    settings, guard = make_upscale_settings(batch.settings, emit), OutputGuard(in_place=batch.layout.in_place)
    for task in batch.tasks:
        try:
            guard.check(task)
            with open_local_copy(task.source) as source:
                found = find_skip_reason(source, task, batch.settings) or _estimate_task(
                    task, source, settings, count_operations
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
            yield found


def _estimate_task(
    task: UpscaleTask, source: Path, settings: UpscaleSettings, count_operations: bool
) -> TaskEstimate:
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
    return TaskEstimate(task, info.size, size, estimate_image(method, image, count_operations))
