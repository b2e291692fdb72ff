"""A worker process: jobs arrive on stdin, answers leave through what was stdout."""

import gc
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, BinaryIO

from srcli.errors import SrError
from srcli.workers import J, T, try_job
from srcli.workers.distribute import JobFunction

# The first message, sent once the worker is set up.
READY = "ready"
# Seconds for cleaning up after the job in progress.
GRACE = 2.0


@dataclass(frozen=True)
class UnexpectedError:
    """A bug in the work: anything it raised that is not an expected failure."""

    traceback: str


def main() -> None:
    """Serve until stdin ends or SIGTERM arrives: the parent process decides, or is gone."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    jobs: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, jobs), daemon=True).start()
    try:
        _serve(jobs, out)
    except (BrokenPipeError, SystemExit) as error:
        error.__traceback__ = None  # its frames hold the context managers that clean up
        gc.collect()
        os._exit(1)  # nobody is listening any more


def _receive(source: BinaryIO, jobs: "SimpleQueue[Any]") -> None:
    """Queue jobs while another one runs; end this process when the parent closes the pipe."""
    try:
        while True:
            jobs.put(pickle.load(source))
    except EOFError:
        pass
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)


def _serve(jobs: "SimpleQueue[Any]", out: BinaryIO) -> None:
    setup, device = jobs.get()
    try:
        work = setup(device)
        _send(out, READY)
        while True:
            _send(out, run_job(work, *jobs.get()))
    except BrokenPipeError:
        raise
    except Exception:
        _send(out, UnexpectedError(traceback.format_exc()))


def run_job(work: JobFunction[J, T], job: J, again: bool) -> tuple[T | None, SrError | None]:
    """Return the result of the work or the error it raised; the job itself need not travel back."""
    outcome = try_job(job, lambda job: work(job, again))
    return outcome.result, outcome.error


def _send(out: BinaryIO, message: object) -> None:
    pickle.dump(message, out)
    out.flush()
