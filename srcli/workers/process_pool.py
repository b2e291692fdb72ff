"""A crew of processes on this machine, each with its share of the cores or a GPU of its own."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self

import srcli
from srcli.errors import SrError
from srcli.workers import J, Outcome, T
from srcli.workers.distribute import TRIES, Answer, Begin, WorkerLost
from srcli.workers.slot import Slot
from srcli.workers.worker import GRACE, READY, Bug

# Not by `-m`: what it pickles would be of a module called `__main__`.
_CALL = "from srcli.workers.worker import main; main()"
_WAIT = 1.0


@dataclass(eq=False)
class _Worker:
    """A process, and the ticket of the job that it has in hand; `ready` once it has said anything."""

    seat: Slot
    process: "subprocess.Popen[bytes]"
    ticket: int | None = None
    ready: bool = False
    listener: threading.Thread | None = None

    @classmethod
    def start(cls, seat: Slot, begin: Begin[Any, Any], said: "SimpleQueue[tuple[_Worker, Any]]") -> Self:
        root = str(Path(srcli.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-c", _CALL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **seat.environment, "PYTHONPATH": path},
            # Ctrl-C is for the process that began it, which then ends this one.
            process_group=0 if os.name == "posix" else None,
        )
        worker = cls(seat, process)
        worker.tell((begin, seat.device))
        worker.listener = threading.Thread(target=worker.listen, args=(said,), daemon=True)
        worker.listener.start()
        return worker

    def tell(self, what: object) -> None:
        """Send; where it has ended, `listen` says so."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()

    def listen(self, said: "SimpleQueue[tuple[_Worker, Any]]") -> None:
        """All that it says; None at its end, which may be in the middle of a word."""
        assert self.process.stdout
        try:
            while True:
                said.put((self, pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            said.put((self, None))

    def end(self) -> None:
        """Wait until it has cleared away what it has in hand, and has ended; where it can't soon, kill it."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        if self.listener:
            self.listener.join()
        for pipe in filter(None, (self.process.stdout, self.process.stdin)):
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass
class Processes(Generic[J, T]):
    """See `Crew`. Processes begin when there is a job for them; one that was lost is begun anew."""

    begin: Begin[J, T]
    seats: list[Slot]
    ahead: int = 1
    patience: float | None = None
    size: int = 0
    _unready: int = 0
    _idle: list[_Worker] = field(default_factory=list)
    _busy: dict[int, _Worker] = field(default_factory=dict)
    _said: "SimpleQueue[tuple[_Worker, Any]]" = field(default_factory=SimpleQueue)
    _numbers: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.seats, self.size = list(self.seats), len(self.seats)

    def takes(self, waiting: int) -> bool:
        """See `Crew`."""
        return bool(self._idle or self.seats)

    def give(self, job: J, again: bool) -> int:
        """See `Crew`."""
        worker = self._idle.pop() if self._idle else _Worker.start(self.seats.pop(0), self.begin, self._said)
        worker.ticket = next(self._numbers)
        self._busy[worker.ticket] = worker
        worker.tell((job, again))
        return worker.ticket

    def answers(self) -> Sequence[Answer[T]]:
        """See `Crew`."""
        try:
            worker, said = self._said.get(timeout=_WAIT)
        except Empty:
            return []
        if isinstance(said, Bug):
            raise RuntimeError(f"in a worker process:\n{said.text}")
        if said == READY:
            worker.ready, self._unready = True, 0
            return []
        outcome = Outcome(None, *said) if said else self._lost(worker)
        ticket, worker.ticket = worker.ticket, None
        if said:
            self._idle.append(worker)
        if ticket is None or self._busy.pop(ticket, None) is None:
            return []
        return [(ticket, outcome)]

    def _lost(self, worker: _Worker) -> Outcome[None, T] | WorkerLost:
        """A seat is free. One that ends by itself before it is ready will next time too."""
        if worker in self._idle:
            self._idle.remove(worker)
        worker.end()
        self.seats.append(worker.seat)
        self._unready += not worker.ready
        code = worker.process.returncode
        if worker.ready or (code < 0 and self._unready < TRIES * self.size):
            return WorkerLost(_ending(code))
        error = SrError("a worker process cannot begin", "the lines above may say why; or give --workers 1")
        error.affects_all = True
        return Outcome(None, error=error)

    def drop(self, ticket: int) -> None:
        """See `Crew`."""
        self._busy.pop(ticket).process.kill()

    def stop(self) -> None:
        """See `Crew`."""
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


def _ending(code: int) -> str:
    """How a process ended, by its exit code.

    >>> _ending(-9), _ending(1)
    ('SIGKILL', 'exit code 1')
    """
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
