"""What a network takes on this machine, by a short trial: seconds and bytes for each pixel of a tile.

Two tiles of different sizes give what each takes and what each pixel of it does. What was found is kept in
the cache folder, by machine and network, for some weeks; and only until real work shows that it is wrong, as
what was tried while other programs were busy is.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from srcli import __version__
from srcli.engine import memory
from srcli.engine.device import give_back_memory, threads
from srcli.engine.runtimes.base import OutOfMemory, Runtime
from srcli.engine.tiles import SMALLEST_TILE
from srcli.errors import FileError
from srcli.storage.files import get_cache_folder, replace_atomically

_SIDES = (96, 192)
_ROUNDS = 3
# For so long a trial holds: drivers and settings change. So far may real work be from it.
_DAYS, _WRONG = 30.0, 0.3
# What a tile takes at most, however much is free. The kernel needs half a second or more to hand out a
# gigabyte, for which a larger tile has to make up by its smaller share of halo: 512 pixels squared of EDSR
# take 9 GB at x4.
AMPLE = 4 * 2**30


@dataclass(frozen=True)
class Rate:
    """Seconds and bytes that a tile takes: so much each, and so much for each of its pixels.

    `tile_bytes` is with all that the process holds anyway.
    """

    tile_seconds: float
    pixel_seconds: float
    tile_bytes: float
    pixel_bytes: float

    def seconds(self, pixels: int) -> float:
        """For a tile of so many pixels, its halo counted."""
        return self.tile_seconds + self.pixel_seconds * pixels

    def bytes(self, pixels: int) -> float:
        """The peak of the process, for such a tile."""
        return self.tile_bytes + self.pixel_bytes * pixels


def measure(runtime: Runtime, sides: tuple[int, int] = _SIDES, rounds: int = _ROUNDS) -> Rate:
    """By running it, the fastest of some rounds; raises `OutOfMemory` where not even that fits."""
    trials = [_trial(runtime, side, rounds) for side in sides]
    small, large = (side * side for side in sides)
    seconds = (trials[1][0] - trials[0][0]) / (large - small)
    held = max(0.0, (trials[1][1] - trials[0][1]) / (large - small))
    return Rate(max(0.0, trials[0][0] - seconds * small), seconds, trials[1][1] - held * large, held)


def _trial(runtime: Runtime, side: int, rounds: int) -> tuple[float, int]:
    """Seconds and peak of a tile with some detail in it."""
    tile = np.random.default_rng(0).random((side, side, runtime.channels), np.float32)
    best = np.inf
    give_back_memory()  # else what was freed before would be used, and nothing be seen
    with memory.watched() as peak:
        for _ in range(rounds):
            start = time.perf_counter()
            next(iter(runtime.run([tile])))
            best = min(best, time.perf_counter() - start)
    return float(best), peak.bytes


def rate(runtime: Runtime, name: str) -> Rate:
    """`measure`, once for each machine and network called `name`, until that is old or wrong."""
    return Rate(**once(_facts(runtime, name), lambda: asdict(measure(runtime))))


def _facts(runtime: Runtime, name: str) -> tuple[object, ...]:
    return (name, runtime.params, runtime.scale, runtime.description, threads(), machine())


def compare(runtime: Runtime, name: str, areas: list[int], seconds: float) -> None:
    """Forget the rate of a network where tiles of so many pixels took quite another time than it says."""
    place = _place(_facts(runtime, name))
    found = _kept(place)
    if found is None:
        return
    with contextlib.suppress(TypeError, OSError):  # what another version wrote; what another process forgot
        foretold = sum(map(Rate(**found).seconds, areas))
        if not 1 - _WRONG < foretold / seconds < 1 + _WRONG:
            place.unlink()


def once(
    facts: tuple[object, ...], find: Callable[[], dict[str, float]], *, days: float = _DAYS
) -> dict[str, float]:
    """What `find` finds out, which is kept that many days for all later runs with the same facts."""
    place = _place(facts)
    found = _kept(place, days)
    if found is None:
        found = find()
        with contextlib.suppress(FileError), replace_atomically(place) as temporary:
            temporary.write_text(json.dumps(found), "utf-8")
    return found


def _place(facts: tuple[object, ...]) -> Path:
    key = hashlib.sha256(json.dumps((__version__, *facts)).encode()).hexdigest()[:24]
    return get_cache_folder() / "calibration" / f"{key}.json"


def _kept(place: Path, days: float = _DAYS) -> dict[str, float] | None:
    try:
        if time.time() - place.stat().st_mtime > days * 86400:
            return None
        found = json.loads(place.read_text("utf-8"))
        return {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def machine() -> str:
    """The processor by name and number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def fitting(runtime: Runtime, tile: int, free: float) -> int:
    """The largest tile side up to `tile` for which there is room, by measurement.

    Half of the `free` bytes is left to the rows of the output and to other programs.
    """
    if tile <= _SIDES[0]:
        return tile
    try:
        held = once(_facts(runtime, "room"), lambda: {"pixel_bytes": measure(runtime, rounds=1).pixel_bytes})
    except OutOfMemory:
        return SMALLEST_TILE
    least = 4 * runtime.channels * (1 + runtime.scale**2)  # what goes in and comes out
    side = int((min(free / 2, AMPLE) / max(least, held["pixel_bytes"])) ** 0.5) - 2 * runtime.halo
    return max(SMALLEST_TILE, min(tile, side))
