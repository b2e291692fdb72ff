"""Upscale tasks one after another, or in parallel by workers."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from srcli.batch.events import (
    Emit,
    ImageDone,
    ImageFailed,
    ImageFinished,
    ImageSkipped,
    ImageStarted,
    SkipReason,
    WorkersStarted,
)
from srcli.batch.prepare import BatchPlan
from srcli.batch.work import BatchSettings, WorkerResult, make_job_function, set_up_worker
from srcli.storage.files import remove_leftovers
from srcli.upscaling.files import Result
from srcli.upscaling.task import UpscaleTask
from srcli.workers import Outcome, run_jobs
from srcli.workers.config import PoolConfig

Check = Callable[[UpscaleTask], None]


def upscale_each(
    tasks: Iterable[UpscaleTask], batch: BatchPlan, emit: Emit, check: Check, count: int | None = None
) -> Generator[ImageFinished]:
    """Yield the outcome of each task after emitting it; `count` tasks are expected, if known.

    `check` raises `SrError` for tasks that must not be started.
    """
    if batch.pool.is_single:
        yield from upscale_in_turn(tasks, batch.settings, emit, check)
        return
    emit(WorkersStarted(count))
    yield from _upscale_in_parallel(tasks, batch.settings, batch.pool, emit, check)


def upscale_in_turn(
    tasks: Iterable[UpscaleTask], settings: BatchSettings, emit: Emit, check: Check
) -> Iterator[ImageFinished]:
    """Upscale each task in this process, see `upscale_each`."""
    work = make_job_function(settings, emit)

    def upscale(task: UpscaleTask) -> Result | SkipReason:
        emit(ImageStarted(task))
        check(task)
        return work(task, False)  # noqa: FBT003 (a callable has no keywords)

    for outcome in run_jobs(tasks, upscale):
        yield _finish(outcome, outcome.result, emit)


def _upscale_in_parallel(
    tasks: Iterable[UpscaleTask], settings: BatchSettings, config: PoolConfig, emit: Emit, check: Check
) -> Iterator[ImageFinished]:
    from srcli.workers.distribute import distribute

    pool = config.start(partial(set_up_worker, settings))
    with closing(distribute(tasks, pool, check, _clean_up)) as outcomes:
        for outcome in outcomes:
            returned: WorkerResult | None = outcome.result
            emit(ImageStarted(outcome.job))
            for event in returned.events if returned else ():
                emit(event)
            yield _finish(outcome, returned.result if returned else None, emit)


def _clean_up(task: UpscaleTask) -> None:
    """Remove what a lost worker left half-written; uploads to stores leave nothing."""
    if isinstance(task.target, Path):
        remove_leftovers(task.target)


def _finish(
    outcome: Outcome[UpscaleTask, Any], result: Result | SkipReason | None, emit: Emit
) -> ImageFinished:
    event: ImageFinished
    if outcome.error:
        event = ImageFailed(outcome.job, outcome.error)
    elif isinstance(result, Result):
        event = ImageDone(outcome.job, result)
    else:
        event = ImageSkipped(outcome.job, result or SkipReason.UP_TO_DATE)
    emit(event)
    return event
