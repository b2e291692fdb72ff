"""Distribute jobs over workers that may be lost; a job whose worker was lost is tried again, up to twice."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from srcli.dataclass import dataclass
from srcli.errors import SrError
from srcli.workers import J, Outcome, T, try_job
from srcli.workers.progress import ignore

MAX_ATTEMPTS = 3

# Runs a job. The flag says that the job may have been started before, by a worker that was lost or is slow.
JobFunction = Callable[[J, bool], T]
# Called once in each worker, with its device; returns what the worker runs. Has to be picklable.
WorkerSetup = Callable[[str | None], JobFunction[J, T]]


@dataclass(frozen=True)
class WorkerLost:
    """The answer for a job whose worker died; `reason` in a few words."""

    reason: str


# A ticket, and what became of its job or of its worker.
Answer = tuple[int, Outcome[Any, T] | WorkerLost]

J_contra = TypeVar("J_contra", contravariant=True)


class Pool(Protocol[J_contra, T]):
    """Workers, each with one job at a time; their number may change.

    `lookahead`: how many jobs to fetch before they can be submitted. `straggler_after`: seconds after which a
    job counts as a straggler, see `distribute`; None if a second worker would not finish it sooner.
    """

    lookahead: int
    straggler_after: float | None

    @property
    def size(self) -> int:
        """The largest number of workers so far."""

    def can_submit(self, waiting: int) -> bool:
        """Return whether a worker is free; `waiting` jobs could be submitted now."""

    def submit(self, job: J_contra, again: bool) -> int:
        """Hand a job to a free worker and return its ticket."""

    def poll(self) -> "Sequence[Answer[T]]":
        """Wait a moment and return the answers that arrived. Raises what is a bug in the work."""

    def cancel(self, ticket: int) -> None:
        """Stop the work on a ticket; it is never answered."""

    def stop(self) -> None:
        """Stop all workers, whatever they are doing."""


@dataclass(eq=False)
class _Item(Generic[J]):
    """A job in progress: how many of its workers were lost, and the tickets of those at work on it."""

    job: J
    losses: int = 0
    since: float = 0.0
    tickets: set[int] = field(default_factory=set)


def distribute(
    jobs: Iterable[J],
    pool: Pool[J, T],
    check: Callable[[J], None] = ignore,
    clean_up: Callable[[J], None] = ignore,
) -> Generator[Outcome[J, T]]:
    """Yield the outcome of every job as it arrives, and stop the pool at the end.

    `check` runs in this process and raises `SrError` for jobs that need no worker. `clean_up` removes what a
    lost or cancelled worker left behind for a job. A job fails after `MAX_ATTEMPTS` lost workers. When idle
    workers have nothing left to do, stragglers are given to a second worker and the first answer counts.
    After a failure that affects all jobs, no new job is started; those in progress are finished.
    """
    run = _Run(iter(jobs), pool, check, clean_up)
    try:
        yield from run.iterate_outcomes()
    finally:
        pool.stop()
        for item in set(run.in_progress.values()):
            clean_up(item.job)


@dataclass
class _Run(Generic[J, T]):
    jobs: Iterator[J]
    pool: Pool[J, T]
    check: Callable[[J], None]
    clean_up: Callable[[J], None]
    waiting: deque[_Item[J]] = field(default_factory=deque)
    in_progress: dict[int, _Item[J]] = field(default_factory=dict)
    longest: float = 0.0

    def iterate_outcomes(self) -> Iterator[Outcome[J, T]]:
        while True:
            yield from self._fetch()
            while self.waiting and self.pool.can_submit(len(self.waiting)):
                self._submit(self.waiting.popleft())
                yield from self._fetch()
            if not self.waiting:
                self._resubmit_stragglers()
            if not (self.waiting or self.in_progress):
                return
            for ticket, answer in self.pool.poll():
                for outcome in self._handle(self.in_progress.pop(ticket), ticket, answer):
                    yield outcome
                    if outcome.error and outcome.error.affects_all:
                        self.waiting.clear()
                        self.jobs = iter(())

    def _fetch(self) -> Iterator[Outcome[J, T]]:
        """Fetch the next jobs; yield the outcomes of those that fail their check."""
        while len(self.waiting) < self.pool.lookahead:
            fetched = list(islice(self.jobs, 1))
            if not fetched:
                return
            checked = try_job(fetched[0], self.check)
            if checked.error:
                yield Outcome(fetched[0], error=checked.error)
            else:
                self.waiting.append(_Item(fetched[0]))

    def _submit(self, item: _Item[J]) -> None:
        ticket = self.pool.submit(item.job, bool(item.losses or item.tickets))
        item.since = item.since if item.tickets else time.monotonic()
        item.tickets.add(ticket)
        self.in_progress[ticket] = item

    def _resubmit_stragglers(self) -> None:
        """Give jobs that take longer than any job so far to idle workers as well."""
        if self.pool.straggler_after is None:
            return
        limit = time.monotonic() - max(self.pool.straggler_after, 2 * self.longest)
        items = [item for item in self.in_progress.values() if len(item.tickets) == 1 and item.since < limit]
        for item in items:
            if self.pool.can_submit(1):
                self._submit(item)

    def _handle(
        self, item: _Item[J], ticket: int, answer: Outcome[Any, T] | WorkerLost
    ) -> Iterator[Outcome[J, T]]:
        item.tickets.remove(ticket)
        if isinstance(answer, Outcome):
            self.longest = max(self.longest, time.monotonic() - item.since)
            self._cancel_others(item)
            yield Outcome(item.job, answer.result, answer.error)
            return
        item.losses += 1
        if item.tickets:
            return
        self.clean_up(item.job)
        if item.losses < MAX_ATTEMPTS:
            self.waiting.appendleft(item)
        else:
            hint = "it may need more memory than this machine has: try it alone, or with a smaller --tile"
            lost = f"{item.job}: its worker was lost {MAX_ATTEMPTS} times ({answer.reason})"
            yield Outcome(item.job, error=SrError(lost, hint))

    def _cancel_others(self, item: _Item[J]) -> None:
        """Stop the other workers that have the same job."""
        for other in item.tickets:
            self.pool.cancel(other)
            del self.in_progress[other]
        if item.tickets:
            self.clean_up(item.job)
