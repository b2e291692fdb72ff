"""Batches: which file goes where, running many images, watching folders, and jobs that can be resumed.

One image is upscaled by `srcli.upscaling`; how events are shown is up to the caller of `run`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from srcli.workers.progress import ignore

if TYPE_CHECKING:
    from srcli.batch.events import Emit
    from srcli.batch.request import UpscaleRequest
    from srcli.batch.summary import Summary


def run(
    request: "UpscaleRequest", emit: "Emit" = ignore, should_stop: Callable[[], bool] = lambda: False
) -> "Summary":
    """Upscale every image of a request and return how many succeeded.

    `emit` receives an event for everything that happens. `should_stop` is asked before each image is
    started; those in progress are finished. Images that fail are part of the summary; raises `SrError` if the
    request as a whole cannot be carried out.
    """
    from srcli.batch.runner import run_batch  # loads NumPy

    return run_batch(request, emit, should_stop)
