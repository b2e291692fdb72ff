"""Many images, one job: every image is tried, and what fails is named without stopping the rest."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import SrError


@dataclass(frozen=True)
class Job:
    """An image to read and the place where its result goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a job: what the work returned, or the error it raised."""

    job: Job
    summary: str = ""
    error: SrError | None = None


def each_image(jobs: Iterable[Job], work: Callable[[Job], str]) -> Iterator[Outcome]:
    """Do `work` on every job, in order; expected failures become outcomes, bugs are raised."""
    for job in jobs:
        try:
            yield Outcome(job, work(job))
        except SrError as error:
            yield Outcome(job, error=error)
        except MemoryError:
            yield Outcome(job, error=SrError(f"{job.source} needs more memory", "use a smaller scale"))
