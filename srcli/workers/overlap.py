"""Overlapping jobs: each runs on a thread of its own, and parts of them in turn on the main thread."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from srcli.dataclass import dataclass
from srcli.workers import J, Outcome, T, try_job

R = TypeVar("R")
# Seconds after which a thread lets others run Python code; by default, a turn would often wait 5 ms to begin.
_SWITCH_INTERVAL = 0.0005


@dataclass(frozen=True, eq=False)
class Ticket(Generic[J, T]):
    """A job that was started as the one with this number, and its future outcome."""

    number: int
    job: J
    outcome: "Future[Outcome[J, T]]"


@dataclass(frozen=True, eq=False)
class _Turn:
    ticket: Ticket[Any, Any]
    function: Callable[[], Any]
    result: "Future[Any]"


class Overlap(Generic[J, T]):
    """Jobs that run beside each other, except for the parts that they pass to `run_in_turn`.

    These run on the thread that made this object, one at a time, those of earlier jobs first. To be entered;
    leaving it early stops every job at its next turn, and waits for them.
    """

    def __init__(self, threads: int) -> None:
        self.current: Ticket[J, T] | None = None  # the job whose turn it is
        self._pool = ThreadPoolExecutor(threads, "sr-overlap")
        self._messages: SimpleQueue[_Turn | None] = SimpleQueue()  # None: a job is finished
        self._due: list[_Turn] = []
        self._count = 0
        self._owner = threading.get_ident()
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._waiting: set[_Turn] = set()
        self._is_closed = False

    def __enter__(self) -> Self:
        self._usual_interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setswitchinterval(self._usual_interval)
        with self._lock:
            self._is_closed = True
            for turn in self._waiting:
                if not turn.result.done():
                    turn.result.set_exception(KeyboardInterrupt())
        self._pool.shutdown(cancel_futures=True)

    def start(self, job: J, work: Callable[[J], T]) -> Ticket[J, T]:
        """Start a job on a thread, as soon as one is free."""
        self._count += 1
        ticket: Ticket[J, T] = Ticket(self._count, job, Future())

        def run() -> None:
            self._thread.ticket = ticket
            try:
                ticket.outcome.set_result(try_job(job, work))
            except BaseException as error:  # an interruption, or it would be waited for in vain
                ticket.outcome.set_exception(error)
            finally:
                self._messages.put(None)

        self._pool.submit(run)
        return ticket

    def finish(self, ticket: Ticket[J, T]) -> Outcome[J, T]:
        """Give all jobs their turns until this one is finished, and return its outcome."""
        while not ticket.outcome.done():
            while not (self._due and self._messages.empty()):
                turn = self._messages.get()
                if turn:
                    self._due.append(turn)
                elif not self._due:
                    break  # it may have been this job that finished
            if self._due:
                turn = min(self._due, key=lambda turn: turn.ticket.number)
                self._due.remove(turn)
                self._run(turn)
        return ticket.outcome.result()

    def run_in_turn(self, function: Callable[[], R], /) -> R:
        """Return what a function returns on the main thread; the calling job waits for its turn."""
        if threading.get_ident() == self._owner:
            return function()
        turn = _Turn(self._thread.ticket, function, Future())
        with self._lock:
            if self._is_closed:
                raise KeyboardInterrupt
            self._waiting.add(turn)
            self._messages.put(turn)
        try:
            result: R = turn.result.result()
        finally:
            with self._lock:
                self._waiting.remove(turn)
        return result

    def _run(self, turn: _Turn) -> None:
        self.current = turn.ticket
        try:
            turn.result.set_result(turn.function())
        except Exception as error:
            turn.result.set_exception(error)
        finally:
            self.current = None
