"""Measurements of this machine, kept in the cache folder until they are old."""

import contextlib
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from srcli import __version__
from srcli.errors import FileError
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.json_text import read_json

_MAX_BYTES = 100_000

Facts = tuple[object, ...]
# Drivers and settings change, so a measurement is repeated after this many days.
MAX_DAYS = 30.0
_SPEED = "megapixels_per_second"


def measure_once(
    facts: Facts, measure: Callable[[], dict[str, float]], *, days: float = MAX_DAYS
) -> dict[str, float]:
    """Return what `measure` returned for the same facts within that many days, else measure now."""
    path = measurement_path(facts)
    found = read_measurement(path, days)
    if found is None:
        found = measure()
        write_measurement(path, found)
    return found


def write_measurement(path: Path, found: Mapping[str, float]) -> None:
    """Write figures into the cache, if that is possible."""
    with contextlib.suppress(FileError), replace_atomically(path) as temporary:
        temporary.write_text(json.dumps(dict(found)), "utf-8")


def record_speed(model: str, speed: float) -> None:
    """Keep the speed of a model on this machine, in output megapixels/s, if it is the best so far."""
    known = read_speed(model)
    if known is None or speed > known:
        write_measurement(_find_speed_path(model), {_SPEED: speed})


def read_speed(model: str) -> float | None:
    """Return the best speed of a model on this machine of the last weeks; None if it was not used."""
    found = read_measurement(_find_speed_path(model))
    return found.get(_SPEED) if found else None


def _find_speed_path(model: str) -> Path:
    return measurement_path(("speed", model, describe_machine()))


def measurement_path(facts: Facts) -> Path:
    """Return the file in which a measurement of these facts is kept."""
    key = hashlib.sha256(json.dumps((__version__, *facts)).encode()).hexdigest()[:24]
    return get_cache_folder() / "calibration" / f"{key}.json"


def read_measurement(path: Path, days: float = MAX_DAYS) -> dict[str, float] | None:
    """Return the figures in a file; None if the file is missing or older than that many days."""
    try:
        if time.time() - path.stat().st_mtime > days * 86400:
            return None
        found = read_json(path, _MAX_BYTES)
        figures = {str(key): float(value) for key, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return figures if all(0 < value < math.inf for value in figures.values()) else None


@cache
def describe_machine() -> str:
    """Return the name of the processor and its number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
