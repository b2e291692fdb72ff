"""Jobs for the worker processes of tests, which import this module."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import SrError
from srcli.workers.distribute import JobFunction


@dataclass(frozen=True)
class Task:
    """One job: `word` says what happens to the worker, `folder` is where it leaves traces."""

    name: str
    word: str = "well"
    folder: Path = Path()

    def __str__(self) -> str:
        return self.name


def begin(device: str | None) -> JobFunction[Task, str]:
    return do


def begin_failing(device: str | None) -> JobFunction[Task, str]:
    raise ModuleNotFoundError("No module named 'srcli'")


def begin_killed_once(trace: Path, device: str | None) -> JobFunction[Task, str]:
    """Kill the worker unless `trace` exists; the trace can't be left if its folder is missing."""
    if not trace.exists():
        with suppress(FileNotFoundError):
            trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return do


def do(task: Task, again: bool) -> str:
    if task.word == "error":
        raise SrError(f"{task} is no good")
    if task.word == "end":
        error = SrError("the disk is full")
        error.affects_all = True
        raise error
    if task.word == "bug":
        raise ZeroDivisionError("a bug")
    if task.word == "die" or (task.word == "die once" and not again):
        os.kill(os.getpid(), signal.SIGKILL)
    if task.word == "lag" and not again:
        time.sleep(60)
    if task.word == "sleep":
        (task.folder / task.name).touch()
        time.sleep(60)
    if task.word == "environment":
        return os.environ["OMP_NUM_THREADS"]
    return f"{task}, {os.getpid()}, {again}"
