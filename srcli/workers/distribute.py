"""Jobs spread over workers, which may be lost: what they had in hand is tried again, twice."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from srcli.errors import SrError
from srcli.workers import J, Outcome, T, tried

TRIES = 3

# What a worker does with a job; told whether it was begun before, by a worker that was lost or that lags.
Do = Callable[[J, bool], T]
# Given the device it has to take, a worker says what it does with jobs. To be pickled.
Begin = Callable[[str | None], Do[J, T]]


@dataclass(frozen=True)
class WorkerLost:
    """A worker that was; `how`, in a few words."""

    how: str


# The job's ticket and what became of it, or of its worker.
Answer = tuple[int, Outcome[Any, T] | WorkerLost]

J_contra = TypeVar("J_contra", contravariant=True)


class Pool(Protocol[J_contra, T]):
    """Workers, as many as there are at the moment; each has one job in hand at most.

    `ahead`: how many jobs are taken before they can be handed out. `patience`: seconds after which a job in
    hand may lag, see `distribute`; None where nobody else would do it sooner.
    """

    ahead: int
    patience: float | None

    @property
    def size(self) -> int:
        """How many there were at a time, at most."""

    def takes(self, waiting: int) -> bool:
        """Whether a job can be handed out; so many are waiting for that."""

    def give(self, job: J_contra, again: bool) -> int:
        """Hand a job out, where it `takes` one; the ticket by which it will be answered."""

    def answers(self) -> "Sequence[Answer[T]]":
        """What has come, after a while at the latest. Raises what is a bug in the work."""

    def drop(self, ticket: int) -> None:
        """End what is done for that ticket, which won't be answered."""

    def stop(self) -> None:
        """End all of it, whatever is in hand."""


@dataclass(eq=False)
class _Item(Generic[J]):
    """A job on its way: how often its worker was lost, and who has it in hand now."""

    job: J
    losses: int = 0
    since: float = 0.0
    tickets: set[int] = field(default_factory=set)


def nothing(job: object) -> None:
    """Do nothing for a job."""


def distribute(
    jobs: Iterable[J],
    crew: Pool[J, T],
    check: Callable[[J], None] = nothing,
    clear: Callable[[J], None] = nothing,
) -> Generator[Outcome[J, T]]:
    """What becomes of every job, as it comes. What is in hand when the rest is not tried is still done.

    `check` raises `SrError` here for jobs that need not be handed out. `clear` is told of jobs whose worker
    was lost or ended, to clear away what it left. Each loss costs a job one of three tries. At the end, when
    workers are idle, a job that lags is given to a second one, and what is answered first counts.
    """
    run = _Run(iter(jobs), crew, check, clear)
    try:
        yield from run.outcomes()
    finally:
        crew.stop()
        for item in set(run.hand.values()):
            clear(item.job)


@dataclass
class _Run(Generic[J, T]):
    jobs: Iterator[J]
    crew: Pool[J, T]
    check: Callable[[J], None]
    clear: Callable[[J], None]
    waiting: deque[_Item[J]] = field(default_factory=deque)
    hand: dict[int, _Item[J]] = field(default_factory=dict)
    longest: float = 0.0

    def outcomes(self) -> Iterator[Outcome[J, T]]:
        while True:
            yield from self._look_ahead()
            while self.waiting and self.crew.takes(len(self.waiting)):
                self._give(self.waiting.popleft())
                yield from self._look_ahead()
            if not self.waiting:
                self._give_twice()
            if not (self.waiting or self.hand):
                return
            for ticket, said in self.crew.answers():
                for became in self._heard(self.hand.pop(ticket), ticket, said):
                    yield became
                    if became.error and became.error.affects_all:
                        self.waiting.clear()
                        self.jobs = iter(())

    def _look_ahead(self) -> Iterator[Outcome[J, T]]:
        """Take the next jobs; what becomes of those that need not be handed out."""
        while len(self.waiting) < self.crew.ahead:
            found = list(islice(self.jobs, 1))
            if not found:
                return
            refused = tried(found[0], self.check)
            if refused.error:
                yield Outcome(found[0], error=refused.error)
            else:
                self.waiting.append(_Item(found[0]))

    def _give(self, item: _Item[J]) -> None:
        ticket = self.crew.give(item.job, bool(item.losses or item.tickets))
        item.since = item.since if item.tickets else time.monotonic()
        item.tickets.add(ticket)
        self.hand[ticket] = item

    def _give_twice(self) -> None:
        """What is in hand for longer than anything took so far, to those who have nothing to do."""
        if self.crew.patience is None:
            return
        limit = time.monotonic() - max(self.crew.patience, 2 * self.longest)
        for item in [item for item in self.hand.values() if len(item.tickets) == 1 and item.since < limit]:
            if self.crew.takes(1):
                self._give(item)

    def _heard(
        self, item: _Item[J], ticket: int, said: Outcome[Any, T] | WorkerLost
    ) -> Iterator[Outcome[J, T]]:
        item.tickets.remove(ticket)
        if isinstance(said, Outcome):
            self.longest = max(self.longest, time.monotonic() - item.since)
            self._end(item)
            yield Outcome(item.job, said.result, said.error)
            return
        item.losses += 1
        if item.tickets:
            return
        self.clear(item.job)
        if item.losses < TRIES:
            self.waiting.appendleft(item)
        else:
            yield Outcome(item.job, error=_given_up(item.job, said))

    def _end(self, item: _Item[J]) -> None:
        """Whoever else has it in hand need not go on."""
        for other in item.tickets:
            self.crew.drop(other)
            del self.hand[other]
        if item.tickets:
            self.clear(item.job)


def _given_up(job: object, lost: WorkerLost) -> SrError:
    hint = "it may need more memory than there is: try it alone, or with a smaller --tile"
    return SrError(f"{job}: its worker was lost {TRIES} times ({lost.how})", hint)
