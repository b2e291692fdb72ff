"""What becomes of the images of a batch: done here in turn, or by other processes side by side."""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.cli.reporters import Reporter

if TYPE_CHECKING:
    from srcli.batch.runner import Batch, Became, Made, Places
    from srcli.upscaling.files import Result
    from srcli.upscaling.task import UpscaleTask
    from srcli.workers import Outcome
    from srcli.workers.config import PoolConfig


def outcomes(
    jobs: "Iterable[UpscaleTask]",
    batch: "Batch",
    voice: Reporter,
    team: "PoolConfig",
    places: "Places",
    count: int | None = None,
) -> "Generator[Became]":
    """What becomes of each job, as it comes; of `count` jobs, where that is known."""
    from srcli.workers import run_jobs

    if team.is_single:
        yield from run_jobs(jobs, one_by_one(batch, voice, places))
        return
    from srcli.batch.runner import begin
    from srcli.workers.distribute import distribute

    voice.several(count)
    crew = team.start(partial(begin, batch))
    with closing(distribute(jobs, crew, places.check, _clear)) as found:
        for outcome in found:
            yield _retold(outcome, voice)


def one_by_one(batch: "Batch", voice: Reporter, places: "Places") -> "Callable[[UpscaleTask], Result | None]":
    """What is done with each job in this process, and told while it is done."""
    from srcli.batch.runner import doing

    work = doing(batch, voice)

    def do(job: "UpscaleTask") -> "Result | None":
        voice.begin(job)
        places.check(job)
        return work(job, False)  # noqa: FBT003 (a callable has no names)

    return do


def _clear(job: "UpscaleTask") -> None:
    """What a worker that was lost left half-made; in stores nothing is."""
    from srcli.storage.files import remove_leftovers

    if isinstance(job.target, Path):
        remove_leftovers(job.target)


def _retold(outcome: "Outcome[UpscaleTask, Made]", voice: Reporter) -> "Became":
    """What a worker says of an image, as if it had been done here."""
    from srcli.workers import Outcome

    made = outcome.result
    voice.begin(outcome.job)
    for method in made.loaded if made else ():
        voice.method(method)
    for words in made.notes if made else ():
        voice.note(words)
    for seam in made.seams if made else ():
        voice.seam(seam)
    return Outcome(outcome.job, made.done if made else None, outcome.error)
