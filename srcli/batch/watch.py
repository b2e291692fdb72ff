"""Watch folders: files become tasks once nobody writes to them any more.

Folders are polled, which works on every system and on network drives, where notifications do not.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from srcli.batch.events import BatchDone, Emit, FolderFailed, FoldersIdle, FoldersWatched
from srcli.batch.execution import upscale_in_turn
from srcli.batch.planning import OutputGuard, scan_folders
from srcli.batch.prepare import BatchPlan
from srcli.batch.summary import Summary, Tally
from srcli.errors import SrError
from srcli.storage.locations import Location, canonicalize
from srcli.upscaling.task import UpscaleTask

POLL_SECONDS = 0.5
# The pause is this many times as long as a scan takes, if folders are very large.
_PAUSE_PER_SCAN = 10
# Seconds without a change after which a file counts as complete; it is taken again if it grows later.
_SETTLE_SECONDS = 1.0

State = tuple[int, int, int]  # inode, size in bytes, time of the last change


def watch_folders(batch: BatchPlan, emit: Emit, should_stop: Callable[[], bool]) -> Summary:
    """Upscale what is in the folders and what arrives there, until `should_stop`."""
    folders = [folder for folder in batch.inputs if isinstance(folder, Path)]
    tally = Tally()
    emit(FoldersWatched(tuple(folders)))
    watcher = Watcher(partial(scan_folders, folders, batch.layout), should_stop, emit)
    for event in upscale_in_turn(watcher.iterate_tasks(), batch.settings, emit, OutputGuard().check):
        tally.add(event)
    summary = tally.summarize()
    emit(BatchDone(summary))
    return summary


@dataclass
class _History:
    """The last change of each file, the state of it that was taken, and the outputs so far."""

    since: dict[Location, tuple[State, float]] = field(default_factory=dict)
    taken: dict[Location, State] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)

    def keep_only(self, present: set[Location]) -> None:
        """Forget files that are gone."""
        for known in (self.since, self.taken):
            for path in [path for path in known if path not in present]:
                del known[path]

    def is_due(self, path: Location, now: float, settle_seconds: float) -> bool:
        """Return whether a file is new or changed, and has not changed for a while."""
        state = _read_state(path)
        if state is None or self.taken.get(path) == state:
            return False
        known = self.since.get(path)
        if known is None or known[0] != state:
            self.since[path] = known = (state, now)
        if now - known[1] < settle_seconds:
            return False
        self.taken[path] = state
        del self.since[path]
        return True


@dataclass(frozen=True)
class Watcher:
    """Scans folders again and again; `scan` returns a task for each image that is there.

    `should_stop` is asked before each task. Emits `FoldersIdle` whenever all are done, and `FolderFailed` if
    a scan fails, after which it goes on.
    """

    scan: Callable[[], list[UpscaleTask]]
    should_stop: Callable[[], bool]
    emit: Emit
    poll_seconds: float = POLL_SECONDS
    settle_seconds: float = _SETTLE_SECONDS

    def iterate_tasks(self) -> Iterator[UpscaleTask]:
        """Yield tasks until it is stopped, first for files that are there already.

        A file that changes after it was taken is taken again. Outputs are never taken as inputs.
        """
        history = _History()
        while not self.should_stop():
            start = time.process_time()
            due = self._list_due(history)
            scan_seconds = time.process_time() - start
            for task in due:
                if self.should_stop():
                    return
                yield task
            self.emit(FoldersIdle())
            self._pause(_PAUSE_PER_SCAN * scan_seconds)

    def _pause(self, seconds: float) -> None:
        """Wait at least one poll interval, or until it is stopped."""
        end = time.monotonic() + seconds
        while not self.should_stop():
            time.sleep(self.poll_seconds)
            if time.monotonic() >= end:
                return

    def _list_due(self, history: _History) -> list[UpscaleTask]:
        try:
            tasks = self.scan()
        except SrError as error:
            self.emit(FolderFailed(error))
            return []
        history.keep_only({task.source for task in tasks})
        now = time.monotonic()
        due = [task for task in tasks if history.is_due(task.source, now, self.settle_seconds)]
        history.outputs |= {canonicalize(task.target) for task in due}
        return [task for task in due if canonicalize(task.source) not in history.outputs]


def _read_state(path: Location) -> State | None:
    """Return None for files that are gone, and for those in stores, which are not watched."""
    if not isinstance(path, Path):
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
