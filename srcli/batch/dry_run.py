"""Dry runs: the size, time and memory that each image of a batch would take."""

from collections.abc import Iterator
from dataclasses import dataclass

from srcli.batch.events import Emit
from srcli.batch.prepare import prepare
from srcli.batch.request import UpscaleRequest
from srcli.batch.work import make_upscale_settings
from srcli.errors import UsageError
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.size import Size
from srcli.storage.locations import open_local_copy
from srcli.upscaling.estimate import Estimate, PlannedImage, estimate_image
from srcli.upscaling.files import UpscaleSettings, compute_scale, decide_streaming
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore


@dataclass(frozen=True)
class TaskEstimate:
    """The estimate of one image; sizes as (width, height)."""

    task: UpscaleTask
    input_size: Size
    output_size: Size
    estimate: Estimate


def estimate_batch(request: UpscaleRequest, emit: Emit = ignore) -> Iterator[TaskEstimate]:
    """Yield the estimate of each image of a request. Raises `SrError` for images that cannot be read."""
    for option, is_given in {"--job": request.policy.job, "--watch": request.policy.watch}.items():
        if is_given:
            raise UsageError(f"--dry-run cannot be used with {option}", "leave out one of them")
    batch = prepare(request, emit)
    if batch.tasks is None:
        raise UsageError("--dry-run needs local files", "the number of images has to be known in advance")
    settings = make_upscale_settings(batch.settings, emit)
    for task in batch.tasks:
        yield _estimate_task(task, settings)


def _estimate_task(task: UpscaleTask, settings: UpscaleSettings) -> TaskEstimate:
    with open_local_copy(task.source) as source:
        info = read_info(source)
    size = settings.target.resolve(info.size)
    scale = compute_scale(info.size, size, settings.target)
    streamed = decide_streaming(info.frames, info.size, size, settings)
    needs_whole = bool(settings.postprocess.whole_image_options)
    image = PlannedImage(info, size, scale, streamed, needs_whole)
    method = settings.load_method(scale) if scale > 1 else None
    return TaskEstimate(task, info.size, size, estimate_image(method, image))
