"""Many images, one job: every image is tried, and what fails is named without stopping the rest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from srcli.errors import SrError
from srcli.jobs import Job

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of a job: what the work returned, or the error it raised."""

    job: Job
    result: T | None = None
    error: SrError | None = None


def each_image(jobs: Iterable[Job], work: Callable[[Job], T]) -> Iterator[Outcome[T]]:
    """Do `work` on every job, in order; expected failures become outcomes, bugs are raised.

    After a failure that every other job would meet too, the rest is not tried.
    """
    for job in jobs:
        try:
            outcome = Outcome(job, work(job))
        except SrError as error:
            outcome = Outcome(job, error=error)
        except MemoryError:
            outcome = Outcome(job, error=SrError(f"{job.source} needs more memory", "use a smaller scale"))
        yield outcome
        if outcome.error and outcome.error.for_all:
            return
