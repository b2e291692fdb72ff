"""Run a batch: a list of tasks, a watched folder, or a job that can be resumed."""

from collections.abc import Callable
from contextlib import closing
from itertools import takewhile

from srcli.batch.events import BatchDone, BatchInterrupted, BatchStarted, Emit
from srcli.batch.execution import upscale_each
from srcli.batch.planning import OutputGuard
from srcli.batch.prepare import BatchPlan, prepare
from srcli.batch.request import UpscaleRequest
from srcli.batch.summary import Summary, Tally
from srcli.batch.task_list import TaskList


def run_batch(request: UpscaleRequest, emit: Emit, should_stop: Callable[[], bool]) -> Summary:
    """Upscale every image of a request, see `srcli.batch.run`."""
    batch = prepare(request, emit)
    if request.policy.watch:
        from srcli.batch.watch import watch_folders

        return watch_folders(batch, emit, should_stop)
    if batch.tasks is None:
        from srcli.batch.resumable import run_job  # loads SQLite

        return run_job(batch, request.policy, emit, should_stop)
    return _run_tasks(batch, batch.tasks, emit, should_stop)


def _run_tasks(batch: BatchPlan, tasks: TaskList, emit: Emit, should_stop: Callable[[], bool]) -> Summary:
    tally = Tally()
    guard = OutputGuard(tasks.iterate_sources(), batch.layout.in_place)
    wanted = takewhile(lambda task: not should_stop(), tasks)
    emit(BatchStarted(tasks))
    try:
        with closing(upscale_each(wanted, batch, emit, guard.check, len(tasks))) as finished:
            for event in finished:
                tally.add(event)
    except KeyboardInterrupt:
        emit(BatchInterrupted(tally.summarize().done, len(tasks)))
        raise
    summary = tally.summarize(len(tasks), batch.unlisted)
    emit(BatchDone(summary))
    return summary
