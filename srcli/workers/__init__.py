"""Many jobs: every one is tried, and what fails is named without stopping the rest.

Here, one after the other; `spread` has several workers, `processes` and `cluster` say which. A job's text is
what it is called where it fails.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from srcli.errors import SrError

J = TypeVar("J")
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[J, T]):
    """What became of a job: what the work returned, or the error it raised."""

    job: J
    result: T | None = None
    error: SrError | None = None


def each_image(jobs: Iterable[J], work: Callable[[J], T]) -> Iterator[Outcome[J, T]]:
    """Do `work` on every job, in order; expected failures become outcomes, bugs are raised.

    After a failure that every other job would meet too, the rest is not tried.
    """
    for job in jobs:
        outcome = tried(job, work)
        yield outcome
        if outcome.error and outcome.error.affects_all:
            return


def tried(job: J, work: Callable[[J], T]) -> Outcome[J, T]:
    """What becomes of one job."""
    try:
        return Outcome(job, work(job))
    except SrError as error:
        return Outcome(job, error=error)
    except MemoryError:
        return Outcome(job, error=SrError(f"{job} needs more memory", "use a smaller scale"))
