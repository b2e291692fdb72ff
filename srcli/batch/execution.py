"""Upscale tasks one after another, overlapped by threads, or in parallel by workers."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.batch.events import (
    Emit,
    Event,
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
from srcli.dataclass import dataclass
from srcli.imaging.codecs.reading import read_info
from srcli.storage.files import remove_leftovers
from srcli.storage.silence import reserve_stderr
from srcli.upscaling.files import STREAMED_PIXELS, Result
from srcli.upscaling.task import UpscaleTask
from srcli.workers import Outcome, run_jobs, try_job
from srcli.workers.config import PoolConfig

if TYPE_CHECKING:
    from srcli.workers.overlap import Overlap, Ticket

    _Overlap = Overlap[UpscaleTask, Result | SkipReason]
    _Ticket = Ticket[UpscaleTask, Result | SkipReason]

Check = Callable[[UpscaleTask], None]
# Images in memory, if they are small: one is read and one written while another is enlarged.
_MOST_OVERLAPPED = 3


def upscale_each(
    tasks: Iterable[UpscaleTask], batch: BatchPlan, emit: Emit, check: Check, count: int | None = None
) -> Generator[ImageFinished]:
    """Yield the outcome of each task after emitting it; `count` tasks are expected, if known.

    `check` raises `SrError` for tasks that must not be started.
    """
    if batch.pool.is_single:
        upscale = upscale_in_turn if count == 1 else _upscale_overlapped
        yield from upscale(tasks, batch.settings, emit, check)
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


def _upscale_overlapped(
    tasks: Iterable[UpscaleTask], settings: BatchSettings, emit: Emit, check: Check
) -> Iterator[ImageFinished]:
    """Upscale each task in this process, reading and writing small images while others are enlarged.

    Events come in the order of the tasks. After a failure that affects all images, no other one is started;
    those in progress are finished.
    """
    from srcli.workers.overlap import Overlap

    with Overlap[UpscaleTask, Result | SkipReason](_MOST_OVERLAPPED) as overlap:
        yield from _Overlapped(overlap, settings, emit).run(tasks, check)


@dataclass
class _Overlapped:
    """The images in progress, in order, and the events of those that are not the first of them."""

    overlap: "_Overlap"
    settings: BatchSettings
    reporter: Emit
    started: "deque[_Ticket]" = field(default_factory=deque)
    held: "dict[_Ticket, list[Event]]" = field(default_factory=dict)
    is_failing: bool = False

    def run(self, tasks: Iterable[UpscaleTask], check: Check) -> Iterator[ImageFinished]:
        job_function = make_job_function(self.settings, self._route, self.overlap.run_in_turn)

        def work(task: UpscaleTask) -> Result | SkipReason:
            return job_function(task, False)  # noqa: FBT003 (a callable has no keywords)

        for number, task in enumerate(tasks):
            checked = try_job(task, check)
            # The first one is alone: what loading a model takes is reported as it happens.
            is_small = number > 0 and not checked.error and _is_small(task, self.settings)
            while self.started and (not is_small or len(self.started) == _MOST_OVERLAPPED):
                yield from self._finish_first()
            if self.is_failing:
                return
            if is_small:
                ticket = self.overlap.start(task, work)
                self.started.append(ticket)
                self.held[ticket] = []
            else:
                self._emit(ImageStarted(task))
                yield from self._finish(
                    try_job(task, work) if not checked.error else Outcome(task, error=checked.error)
                )
        while self.started:
            yield from self._finish_first()

    def _finish_first(self) -> Iterator[ImageFinished]:
        ticket = self.started.popleft()
        self._emit(ImageStarted(ticket.job))
        for event in self.held.pop(ticket):
            self._emit(event)
        outcome = self.overlap.finish(ticket)
        if not (self.is_failing and outcome.error and outcome.error.affects_all):
            yield from self._finish(outcome)

    def _finish(self, outcome: Outcome[UpscaleTask, Any]) -> Iterator[ImageFinished]:
        self.is_failing |= bool(outcome.error and outcome.error.affects_all)
        yield _finish(outcome, outcome.result, self._emit)

    def _route(self, event: Event) -> None:
        """Emit an event of the first image, or keep one of another."""
        held = self.held.get(self.overlap.current) if self.overlap.current else None
        if held is None:
            self._emit(event)
        else:
            held.append(event)

    def _emit(self, event: Event) -> None:
        with reserve_stderr():
            self.reporter(event)


def _is_small(task: UpscaleTask, settings: BatchSettings) -> bool:
    """Return whether several such images may be in memory, by the header; unknown ones may be large."""
    if not isinstance(task.source, Path):
        return False
    try:
        info = read_info(task.source)
        largest = max(math.prod(info.size), math.prod(settings.size.resolve(info.size)))
    except Exception:  # reading the image will raise it again and report it
        return False
    return largest * info.frames < STREAMED_PIXELS


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
