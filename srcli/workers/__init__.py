"""Jobs and who runs them: in this process, in a pool of processes, or on a Ray cluster.

Knows nothing of images. A job is any picklable value; `str(job)` is its name in messages.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from srcli.dataclass import dataclass
from srcli.errors import SrError, wrap_exception

J = TypeVar("J")
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[J, T]):
    """A finished job: the result of the work, or the error it raised."""

    job: J
    result: T | None = None
    error: SrError | None = None


class RunInTurn(Protocol):
    """Runs a function on the main thread, when it is the calling job's turn, and returns its result."""

    def __call__(self, function: Callable[[], T], /) -> T:
        """Return what `function` returns."""


def run_now(function: Callable[[], T], /) -> T:
    """Run a function at once: the turns of a job that nothing overlaps with."""
    return function()


def run_jobs(jobs: Iterable[J], work: Callable[[J], T]) -> Iterator[Outcome[J, T]]:
    """Yield the outcome of `work` for every job, in order; whatever a job raises is its own failure.

    Stops after a failure that would affect every other job too.
    """
    for job in jobs:
        outcome = try_job(job, work)
        yield outcome
        if outcome.error and outcome.error.affects_all:
            return


def try_job(job: J, work: Callable[[J], T]) -> Outcome[J, T]:
    """Return the outcome of one job: its result, or the error for whatever it raised."""
    try:
        return Outcome(job, work(job))
    except Exception as error:
        return Outcome(job, error=wrap_exception(error, job))
