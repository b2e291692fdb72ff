"""A worker process: jobs come in on stdin, what became of them goes out where stdout was."""

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
from srcli.workers import J, T, tried
from srcli.workers.distribute import Do

# Said first, once it is able to work.
READY = "ready"
# Seconds in which what is in hand can be cleared away.
GRACE = 2.0


@dataclass(frozen=True)
class Bug:
    """What the work raised that is no expected failure: its traceback."""

    text: str


def main() -> None:
    """Serve until stdin ends or SIGTERM comes: the process that began it decides, or is gone."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is talk
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    jobs: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    try:
        _serve(jobs, out)
    except (BrokenPipeError, SystemExit) as error:
        error.__traceback__ = None  # which would hold what clears away after itself
        gc.collect()
        os._exit(1)  # nobody listens any more


def _listen(source: BinaryIO, jobs: "SimpleQueue[Any]") -> None:
    """What comes in, while something else is in hand; at its end this process ends too."""
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
    begin, device = jobs.get()
    try:
        do = begin(device)
        _say(out, READY)
        while True:
            _say(out, answer(do, *jobs.get()))
    except BrokenPipeError:
        raise
    except Exception:
        _say(out, Bug(traceback.format_exc()))


def answer(do: Do[J, T], job: J, again: bool) -> tuple[T | None, SrError | None]:
    """What the work returned, or the error it raised; the job itself need not travel back."""
    outcome = tried(job, lambda job: do(job, again))
    return outcome.result, outcome.error


def _say(out: BinaryIO, what: object) -> None:
    pickle.dump(what, out)
    out.flush()
