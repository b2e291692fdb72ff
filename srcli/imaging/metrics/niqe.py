"""NIQE: how far an image's local statistics are from those of good photographs; no truth is needed.

Mittal, Soundararajan and Bovik 2013, https://doi.org/10.1109/LSP.2012.2227726. The authors' model of good
photographs has no licence that allows redistribution. `niqe.json` is our own, fitted by
benchmarks/experiments/fit_niqe.py to the freely licensed photographs that it names. Compare these figures
with each other, not with those of papers.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.resize import resize

Array = NDArray[np.float64]

MODEL = Path(__file__).parent / "niqe.json"
# Pixels on a side of the patches whose statistics are taken; half of it at the second scale.
PATCH = 96
FEATURES = 36
# Which neighbour a pixel is multiplied with: right, below, and the two diagonals, as (down, right).
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_GRID = np.arange(0.2, 10.001, 0.001)


@dataclass(frozen=True)
class Model:
    """What the features of good patches are: mean (36,) and covariance (36, 36); `source` says whose."""

    mean: Array
    covariance: Array
    source: str


@lru_cache(maxsize=1)
def load_model() -> Model:
    """The one that ships."""
    raw = json.loads(MODEL.read_text("utf-8"))
    upper = np.zeros((FEATURES, FEATURES))
    upper[np.triu_indices(FEATURES)] = raw["covariance"]
    return Model(np.array(raw["mean"]), upper + np.triu(upper, 1).T, raw["source"])


def niqe(plane: NDArray[np.floating]) -> float:
    """Of luma (H, W) over 255, at least 192 pixels on a side; lower is more natural.

    Fewer than two whole patches have no covariance: NaN.
    """
    good = load_model()
    found, _ = compute_features(plane)
    sound = found[np.isfinite(found).all(axis=1)]
    if len(sound) < 2:
        return float("nan")
    apart = good.mean - sound.mean(axis=0)
    spread = (good.covariance + np.cov(sound, rowvar=False)) / 2
    return float(np.sqrt(apart @ np.linalg.pinv(spread) @ apart))


def compute_features(plane: NDArray[np.floating]) -> tuple[Array, Array]:
    """Of each whole patch of luma (H, W) over 255: statistics (N, 36), and how sharp it is (N,)."""
    rows, columns = (side // PATCH for side in plane.shape)
    levels = plane[: rows * PATCH, : columns * PATCH].astype(np.float64) * 255
    fine, spread = _normalised(levels)
    small = resize(levels.astype(np.float32), levels.shape[0] // 2, levels.shape[1] // 2)
    coarse, _ = _normalised(small.astype(np.float64))
    both = [
        np.concatenate([_statistics(a), _statistics(b)])
        for a, b in zip(_patches(fine, PATCH), _patches(coarse, PATCH // 2), strict=True)
    ]
    sharp = np.array([patch.mean() for patch in _patches(spread, PATCH)])
    return np.array(both).reshape(-1, FEATURES), sharp


def _patches(plane: Array, side: int) -> list[Array]:
    rows, columns = (length // side for length in plane.shape)
    return [
        plane[y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(rows)
        for x in range(columns)
    ]


def _normalised(levels: Array) -> tuple[Array, Array]:
    """Each pixel's distance from its local mean in local deviations, and those deviations."""
    mean = _local(levels)
    deviation = np.sqrt(np.abs(_local(levels * levels) - mean * mean))
    return (levels - mean) / (deviation + 1), deviation


def _local(plane: Array) -> Array:
    """The mean under a 7x7 Gaussian of deviation 7/6; borders are repeated."""
    window = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    height, width = plane.shape
    wide = np.pad(plane, 3, "edge")
    tall = sum(w * wide[k : k + height] for k, w in enumerate(window))
    return np.asarray(sum(w * tall[:, k : k + width] for k, w in enumerate(window)))


def _statistics(patch: Array) -> Array:
    """The 18 numbers of a patch at one scale: two of its values, four of each product of neighbours."""
    shape, left, right = fit_ggd(patch)
    out = [shape, (left + right) / 2]
    for down, along in _SHIFTS:
        shape, left, right = fit_ggd(patch * np.roll(patch, (down, along), (0, 1)))
        mean = (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape)
        out += [shape, mean, left, right]
    return np.array(out)


def fit_ggd(values: Array) -> tuple[float, float, float]:
    """Shape, and scale to the left and the right, of the asymmetric generalised Gaussian of `values`.

    By moments, as in Lasmar et al. 2009. Of values without both signs, or all 0: NaN.
    """
    below, above = values[values < 0], values[values > 0]
    if not (below.size and above.size):
        return (math.nan,) * 3
    left, right = (math.sqrt(np.mean(side * side)) for side in (below, above))
    ratio = left / right
    share = np.mean(np.abs(values)) ** 2 / np.mean(values * values)
    wanted = share * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(_GRID[np.argmin((_shares() - wanted) ** 2)])
    scale = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    return shape, left * scale, right * scale


@lru_cache(maxsize=1)
def _shares() -> Array:
    """What `share` is for each shape of the grid where both sides are alike."""
    return np.array([math.gamma(2 / g) ** 2 / (math.gamma(1 / g) * math.gamma(3 / g)) for g in _GRID])
