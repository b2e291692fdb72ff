"""The cost of a network on this machine, by a short trial: seconds and bytes per tile and per pixel.

Two tiles of different sizes tell one from the other. Figures are kept by machine and network for some weeks,
or until real work contradicts them; those of a busy machine are not kept.
"""

import contextlib
import math
import os
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

from srcli.dataclass import dataclass
from srcli.engine import memory
from srcli.engine.device import count_threads, release_memory
from srcli.engine.measurements import (
    MAX_DAYS,
    Facts,
    describe_machine,
    measure_once,
    measurement_path,
    read_measurement,
)
from srcli.engine.runtimes.base import OutOfMemory, Runtime
from srcli.engine.tiles import SMALLEST_TILE
from srcli.workers.progress import Wait, announce, ignore

_SIDES = (96, 192)
# For images that are smaller than the trial itself, which would take longer than the work.
_QUICK_SIDES = (32, 64)
_ROUNDS = 3
# Seconds of a trial that are announced.
_LONG = 1.0
# How far real work may be from a rate before that is dropped.
_TOLERANCE = 0.3
# What a tile may take at most, however much is free. The kernel needs half a second or more to hand out a
# gigabyte, which a larger tile has to make up for by its smaller share of halo: a tile of 512 squared pixels
# of EDSR takes 9 GB at x4.
MAX_TILE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Rate:
    """Seconds and bytes that a tile takes: a constant, and a part for each of its pixels.

    `tile_bytes` includes what the process holds anyway.
    """

    tile_seconds: float
    pixel_seconds: float
    tile_bytes: float
    pixel_bytes: float

    def seconds(self, pixels: int) -> float:
        """Return the seconds for a tile of that many pixels, its halo included."""
        return self.tile_seconds + self.pixel_seconds * pixels

    def bytes(self, pixels: int) -> float:
        """Return the peak of the process for a tile of that many pixels."""
        return self.tile_bytes + self.pixel_bytes * pixels


def measure_rate(runtime: Runtime, sides: tuple[int, int] = _SIDES, rounds: int = _ROUNDS) -> Rate:
    """Run tiles of two sizes, and keep the fastest round. Raises `OutOfMemory` if not even they fit."""
    trials = [_run_trial(runtime, side, rounds) for side in sides]
    small, large = (side * side for side in sides)
    first, second = (seconds for seconds, _ in trials)
    if first >= second:  # the machine was busy
        first = second * small / large
    seconds = (second - first) / (large - small)
    pixel_bytes = max(0.0, (trials[1][1] - trials[0][1]) / (large - small))
    tile_seconds = max(0.0, first - seconds * small)
    return Rate(tile_seconds, seconds, trials[1][1] - pixel_bytes * large, pixel_bytes)


def _run_trial(runtime: Runtime, side: int, rounds: int) -> tuple[float, int]:
    """Return the seconds and the peak in bytes of a tile full of detail."""
    tile = np.random.default_rng(0).random((side, side, runtime.info.channels), np.float32)
    best = np.inf
    release_memory()  # memory freed before would be used again, and not show
    with memory.watch_peak() as peak:
        for _ in range(rounds):
            start = perf_counter()
            next(iter(runtime.run([tile])))
            best = min(best, perf_counter() - start)
    return float(best), peak.bytes


def find_rate(runtime: Runtime, name: str, pixels: float = math.inf, wait: Wait = ignore) -> Rate:
    """Return the rate of the network called `name`, measured once on each machine, unless that is busy.

    For an image of so few `pixels` that the trial would take longer, a quicker and less exact one is run.
    `wait` announces a trial that takes long.
    """
    full, quick = _list_facts(runtime, name)
    found = read_measurement(measurement_path(full), MAX_DAYS)
    if found:
        return Rate(**found)
    is_small = pixels < _ROUNDS * sum(side * side for side in _SIDES)

    def measure() -> dict[str, float]:
        sides, rounds = (_QUICK_SIDES, 1) if is_small else (_SIDES, _ROUNDS)
        with _announce_trial(runtime, sides, rounds, wait):
            return asdict(measure_rate(runtime, sides, rounds))

    facts = quick if is_small else full
    if not is_busy():
        return Rate(**measure_once(facts, measure))
    return Rate(**(read_measurement(measurement_path(facts), MAX_DAYS) or measure()))


def _announce_trial(
    runtime: Runtime, sides: tuple[int, int], rounds: int, wait: Wait
) -> AbstractContextManager[None]:
    """Return a context that announces a trial if a much smaller one, run now, shows that it takes long."""
    if wait is ignore:
        return contextlib.nullcontext()
    side = sides[0] // 2
    pixels = rounds * sum(side * side for side in sides)
    try:
        expected = _run_trial(runtime, side, 2)[0] / side**2 * pixels
    except OutOfMemory:  # the trial will say so
        return contextlib.nullcontext()
    return (
        announce(wait, "measuring the network on this machine")
        if expected > _LONG
        else contextlib.nullcontext()
    )


def is_busy() -> bool:
    """Return whether other programs take the processor, so that times measured now are not worth keeping."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1) + 1
    except (AttributeError, OSError):  # not known on Windows
        return False


def _list_facts(runtime: Runtime, name: str) -> tuple[Facts, Facts]:
    """Return what the rates of full and of quick trials depend on."""
    return _facts(runtime, name), (*_facts(runtime, name), "quick")


def _facts(runtime: Runtime, name: str) -> Facts:
    info = runtime.info
    return (name, info.params, info.scale, runtime.description, count_threads(), describe_machine())


def check_rate(runtime: Runtime, name: str, areas: list[int], seconds: float) -> None:
    """Drop a network's rates if tiles of these numbers of pixels took a quite different time."""
    for facts in _list_facts(runtime, name):
        path = measurement_path(facts)
        found = read_measurement(path)
        if found is not None:
            _drop_if_wrong(path, found, areas, seconds)


def _drop_if_wrong(path: Path, found: dict[str, float], areas: list[int], seconds: float) -> None:
    with contextlib.suppress(TypeError, OSError):  # written by another version; dropped by another process
        expected = sum(map(Rate(**found).seconds, areas))
        if not 1 - _TOLERANCE < expected / seconds < 1 + _TOLERANCE:
            path.unlink()


def fit_tile(runtime: Runtime, tile: int, free: float, wait: Wait = ignore) -> int:
    """Return the largest tile side up to `tile` that fits into memory, by measurement.

    Half of the `free` bytes stays free for the rows of the output and for other programs. `wait` announces a
    measurement that takes long.
    """
    if tile <= _SIDES[0]:
        return tile

    def measure() -> dict[str, float]:
        with _announce_trial(runtime, _SIDES, 1, wait):
            return {"pixel_bytes": measure_rate(runtime, rounds=1).pixel_bytes}

    try:
        held = measure_once(_facts(runtime, "room"), measure)
    except OutOfMemory:
        return SMALLEST_TILE
    info = runtime.info
    least = 4 * info.channels * (1 + info.scale**2)  # input and output alone
    pixels = min(free / 2, MAX_TILE_BYTES) / max(least, held["pixel_bytes"])
    return max(SMALLEST_TILE, min(tile, int(pixels**0.5) - 2 * info.halo))
