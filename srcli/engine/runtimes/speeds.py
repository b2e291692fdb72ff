"""Which library is likely the fastest for a bundled network and a number of pixels, from measurements.

`speeds.json` is written by tools/bench_runtimes.py: processor seconds of one core. Processors differ, but the
order of the libraries was the same on all that were tried.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from srcli.engine.device import count_threads

# Seconds by side of a square image, and to start.
Times = Mapping[str, float]
TABLE = Path(__file__).parent / "speeds.json"
START = "start"


@lru_cache(maxsize=1)
def read_table() -> dict[str, dict[str, Times]]:
    """Return the seconds by network, library and side of a square image; `start` is one of these "sides"."""
    table: dict[str, dict[str, Times]] = json.loads(TABLE.read_text("utf-8"))
    return table


def estimate_seconds(libraries: Mapping[str, Times], pixels: int) -> dict[str, float]:
    """Return the seconds to start each library and run so many input pixels, the fastest library first."""
    seconds = {
        name: times[START] + pixels * interpolate_rate(times, pixels) / count_threads()
        for name, times in libraries.items()
    }
    return dict(sorted(seconds.items(), key=lambda item: item[1]))


def interpolate_rate(times: Times, pixels: float) -> float:
    """Return the seconds for each pixel of an image of this many, which grow once it leaves the cache."""
    sides = sorted(int(side) for side in times if side != START)
    rates = [times[str(side)] / side**2 for side in sides]
    side = min(max(math.sqrt(pixels), sides[0]), sides[-1])
    for (low, high), (slow, fast) in zip(pairwise(sides), pairwise(rates), strict=True):
        if side <= high:
            return slow + (fast - slow) * math.log(side / low) / math.log(high / low)
    return rates[-1]
