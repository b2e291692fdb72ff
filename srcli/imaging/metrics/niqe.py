"""NIQE: the distance of local statistics of an image from those of good photographs, without a reference.

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
# The side of the patches in pixels; half of it at the second scale.
PATCH = 96
FEATURES = 36
# Neighbours a pixel is multiplied with, as (down, right): right, below, and both diagonals.
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_GRID = np.arange(0.2, 10.001, 0.001)


@dataclass(frozen=True)
class Model:
    """The features of patches of good photographs: mean (36,), covariance (36, 36), and their source."""

    mean: Array
    covariance: Array
    source: str


@lru_cache(maxsize=1)
def load_model() -> Model:
    """Load the bundled model."""
    raw = json.loads(MODEL.read_text("utf-8"))
    upper = np.zeros((FEATURES, FEATURES))
    upper[np.triu_indices(FEATURES)] = raw["covariance"]
    return Model(np.array(raw["mean"]), upper + np.triu(upper, 1).T, raw["source"])


def niqe(plane: NDArray[np.floating]) -> float:
    """Compute NIQE of luma (H, W) in [0, 1] with sides of at least 192 pixels; lower is more natural.

    Returns NaN for fewer than two whole patches, which have no covariance.
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
    """Compute statistics (N, 36) and sharpness (N,) of the whole patches of luma (H, W) in [0, 1]."""
    rows, columns = (side // PATCH for side in plane.shape)
    levels = plane[: rows * PATCH, : columns * PATCH].astype(np.float64) * 255
    fine, spread = _normalise(levels)
    small = resize(levels.astype(np.float32), levels.shape[0] // 2, levels.shape[1] // 2)
    coarse, _ = _normalise(small.astype(np.float64))
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


def _normalise(levels: Array) -> tuple[Array, Array]:
    """Return the distance of pixels from their local mean in local deviations, and these deviations."""
    mean = _local_mean(levels)
    deviation = np.sqrt(np.abs(_local_mean(levels * levels) - mean * mean))
    return (levels - mean) / (deviation + 1), deviation


def _local_mean(plane: Array) -> Array:
    """Return the mean under a 7x7 Gaussian of deviation 7/6, with borders repeated."""
    window = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    height, width = plane.shape
    wide = np.pad(plane, 3, "edge")
    tall = sum(w * wide[k : k + height] for k, w in enumerate(window))
    return np.asarray(sum(w * tall[:, k : k + width] for k, w in enumerate(window)))


def _statistics(patch: Array) -> Array:
    """Return 18 numbers of a patch at one scale: 2 from its values, 4 from each product of neighbours."""
    shape, left, right = fit_ggd(patch)
    out = [shape, (left + right) / 2]
    for down, along in _SHIFTS:
        shape, left, right = fit_ggd(patch * np.roll(patch, (down, along), (0, 1)))
        mean = (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape)
        out += [shape, mean, left, right]
    return np.array(out)


def fit_ggd(values: Array) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian to `values`: shape, and scale on the left and on the right.

    By moments, as in Lasmar et al. 2009. Returns NaN unless there are values of both signs.
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
    """Return `share` of the symmetric distribution for each shape of the grid."""
    return np.array([math.gamma(2 / g) ** 2 / (math.gamma(1 / g) * math.gamma(3 / g)) for g in _GRID])
