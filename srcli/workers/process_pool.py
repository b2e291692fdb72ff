"""A pool of processes on this machine, each with a share of the cores or a GPU of its own."""

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
from srcli.workers.distribute import MAX_ATTEMPTS, Answer, WorkerLost, WorkerSetup
from srcli.workers.slot import Slot
from srcli.workers.worker import GRACE, READY, UnexpectedError

# Not `python -m`: classes pickled there would belong to a module called `__main__`.
_COMMAND = "from srcli.workers.worker import main; main()"
_POLL_SECONDS = 1.0


@dataclass(eq=False)
class _Worker:
    """A process and the ticket of the job it is working on; `ready` once it has sent anything."""

    slot: Slot
    process: "subprocess.Popen[bytes]"
    ticket: int | None = None
    ready: bool = False
    receiver: threading.Thread | None = None

    @classmethod
    def start(
        cls, slot: Slot, setup: WorkerSetup[Any, Any], received: "SimpleQueue[tuple[_Worker, Any]]"
    ) -> Self:
        root = str(Path(srcli.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **slot.environment, "PYTHONPATH": path},
            # Ctrl-C goes to the parent only, which then stops its workers.
            process_group=0 if os.name == "posix" else None,
        )
        worker = cls(slot, process)
        worker.send((setup, slot.device))
        worker.receiver = threading.Thread(target=worker.receive, args=(received,), daemon=True)
        worker.receiver.start()
        return worker

    def send(self, message: object) -> None:
        """Send a message; if the process has ended, `receive` notices."""
        assert self.process.stdin
        with suppress(BrokenPipeError):
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()

    def receive(self, received: "SimpleQueue[tuple[_Worker, Any]]") -> None:
        """Queue all its messages, then None when it ends, which may be in the middle of a message."""
        assert self.process.stdout
        try:
            while True:
                received.put((self, pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError, OSError, ValueError):
            received.put((self, None))

    def join(self) -> None:
        """Wait until the process has cleaned up and ended; kill it if that takes too long."""
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        if self.receiver:
            self.receiver.join()
        for pipe in filter(None, (self.process.stdout, self.process.stdin)):
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass
class ProcessPool(Generic[J, T]):
    """A `Pool` of processes, which start when there is a job for them; a lost one is replaced."""

    setup: WorkerSetup[J, T]
    slots: list[Slot]
    lookahead: int = 1
    straggler_after: float | None = None
    size: int = 0
    _failed_starts: int = 0
    _idle: list[_Worker] = field(default_factory=list)
    _busy: dict[int, _Worker] = field(default_factory=dict)
    _received: "SimpleQueue[tuple[_Worker, Any]]" = field(default_factory=SimpleQueue)
    _tickets: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        self.slots, self.size = list(self.slots), len(self.slots)

    def can_submit(self, waiting: int) -> bool:
        """Return whether a worker is idle or can be started."""
        return bool(self._idle or self.slots)

    def submit(self, job: J, again: bool) -> int:
        """Hand a job to an idle worker, or to a new one, and return its ticket."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = _Worker.start(self.slots.pop(0), self.setup, self._received)
        worker.ticket = next(self._tickets)
        self._busy[worker.ticket] = worker
        worker.send((job, again))
        return worker.ticket

    def poll(self) -> Sequence[Answer[T]]:
        """Wait up to a second for one answer. Raises `RuntimeError` for a bug in the work."""
        try:
            worker, message = self._received.get(timeout=_POLL_SECONDS)
        except Empty:
            return []
        if isinstance(message, UnexpectedError):
            raise RuntimeError(f"in a worker process:\n{message.traceback}")
        if message == READY:
            worker.ready, self._failed_starts = True, 0
            return []
        answer = Outcome(None, *message) if message else self._replace(worker)
        ticket, worker.ticket = worker.ticket, None
        if message:
            self._idle.append(worker)
        if ticket is None or self._busy.pop(ticket, None) is None:
            return []
        return [(ticket, answer)]

    def _replace(self, worker: _Worker) -> Outcome[None, T] | WorkerLost:
        """Free the slot of a worker that ended. One that exits by itself while starting would do so again."""
        if worker in self._idle:
            self._idle.remove(worker)
        worker.join()
        self.slots.append(worker.slot)
        self._failed_starts += not worker.ready
        code = worker.process.returncode
        if worker.ready or (code < 0 and self._failed_starts < MAX_ATTEMPTS * self.size):
            return WorkerLost(_describe_exit(code))
        error = SrError("worker processes cannot start", "see the lines above, or use --workers 1")
        error.affects_all = True
        return Outcome(None, error=error)

    def cancel(self, ticket: int) -> None:
        """Kill the worker that has the ticket."""
        self._busy.pop(ticket).process.kill()

    def stop(self) -> None:
        """Terminate all workers and wait for them."""
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.join()


def _describe_exit(code: int) -> str:
    """Return how a process ended, from its exit code.

    >>> _describe_exit(-9), _describe_exit(1)
    ('SIGKILL', 'exit code 1')
    """
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
