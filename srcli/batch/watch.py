"""A folder that is watched: files become jobs once nobody writes to them any more.

By looking again and again, which works on every system and on network drives, where notices do not.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from srcli.errors import SrError
from srcli.storage.locations import Location, canonicalize
from srcli.upscaling.task import UpscaleTask

PAUSE = 0.5
_SHARE = 10  # times as long as a look takes is waited for the next, where a folder holds very much
_SETTLED = 1.0  # seconds without a change; what was taken too early is taken again when it has grown

State = tuple[int, int, int]  # file number, size in bytes, time of the last change


@dataclass(frozen=True)
class Looking:
    """How to watch: `jobs` are those there are now; `stopped` is asked between any two files.

    `idle` is called whenever all are done, `trouble` with what keeps from looking.
    """

    jobs: Callable[[], list[UpscaleTask]]
    stopped: Callable[[], bool]
    idle: Callable[[], None]
    trouble: Callable[[SrError], None]
    pause: float = PAUSE
    settled: float = _SETTLED


@dataclass
class _Seen:
    """What is known of the files: since when each is as it is, which have been taken, and what was made."""

    since: dict[Location, tuple[State, float]] = field(default_factory=dict)
    taken: dict[Location, State] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)

    def forget_all_but(self, there: set[Location]) -> None:
        for known in (self.since, self.taken):
            for path in [path for path in known if path not in there]:
                del known[path]

    def is_due(self, path: Location, now: float, settled: float) -> bool:
        """Whether a file is new or changed, and has been as it is for long enough."""
        state = _state(path)
        if state is None or self.taken.get(path) == state:
            return False
        known = self.since.get(path)
        if known is None or known[0] != state:
            self.since[path] = known = (state, now)
        if now - known[1] < settled:
            return False
        self.taken[path] = state
        del self.since[path]
        return True


def arriving(looking: Looking) -> Iterator[UpscaleTask]:
    """Jobs for ever, until it is stopped; those there are already come first.

    A file that changes after it was taken is taken again. What was made of one is none itself.
    """
    seen = _Seen()
    while not looking.stopped():
        start = time.process_time()
        due = _due(looking, seen)
        took = time.process_time() - start
        for job in due:
            if looking.stopped():
                return
            yield job
        looking.idle()
        _wait(looking, _SHARE * took)


def _wait(looking: Looking, seconds: float) -> None:
    """So long or `pause`, whichever is longer, or until it is stopped."""
    end = time.monotonic() + seconds
    while not looking.stopped():
        time.sleep(looking.pause)
        if time.monotonic() >= end:
            return


def _due(looking: Looking, seen: _Seen) -> list[UpscaleTask]:
    try:
        jobs = looking.jobs()
    except SrError as error:
        looking.trouble(error)
        return []
    seen.forget_all_but({job.source for job in jobs})
    now = time.monotonic()
    due = [job for job in jobs if seen.is_due(job.source, now, looking.settled)]
    seen.made |= {canonicalize(job.target) for job in due}
    return [job for job in due if canonicalize(job.source) not in seen.made]


def _state(path: Location) -> State | None:
    """None for files that are gone, and for those in stores, which can't be watched."""
    if not isinstance(path, Path):
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
