"""Noise in an image, and detail lost to blur or to earlier upscaling, estimated from its pixels."""

import math

import numpy as np

from srcli.imaging.pixels import Plane, Values
from srcli.imaging.resize import resize

_FACTORS = (1.5, 2.0, 3.0, 4.0)
# PSNR in dB after downscaling and upscaling again: 26 to 39 for photographs, 40 to 50 for those that had been
# upscaled by the same factor before.
_NOTHING_LOST, _LITTLE_LOST = 40.0, 38.0
_BLOCK = 16
_MARGIN = 0.1


def estimate_noise(plane: Plane) -> float:
    """Estimate noise from the calmest tenth of the blocks.

    The Laplacian mask is Immerkaer's (CVIU 64, 1996, 300-302). Blocks near black or white are ignored:
    clipping hides their noise.
    """
    p = plane.astype(np.float64)
    curves = p[:-2] - 2 * p[1:-1] + p[2:]
    response = (curves[:, :-2] - 2 * curves[:, 1:-1] + curves[:, 2:]) / 6
    deviation = _blocks(response).std(axis=(1, 3))
    level = _blocks(p[1:-1, 1:-1]).mean(axis=(1, 3))
    inside = deviation[(level > _MARGIN) & (level < 1 - _MARGIN)]
    return 255 * float(find_quantiles(inside if inside.size else deviation, 0.1)[0])


def find_quantiles(values: Values, *shares: float) -> Values:
    """Return what `np.quantile` does, which would import numpy.ma: a thirtieth of the start of `sr`."""
    last = values.size - 1
    ranks = sorted({min(int(share * last) + more, last) for share in shares for more in (0, 1)})
    chosen = np.partition(values, ranks, axis=None)[ranks]
    return np.interp(np.multiply(shares, last), ranks, chosen)


def find_median(values: Values) -> float:
    """Return the median of all values."""
    return float(find_quantiles(values, 0.5)[0])


def _blocks(values: Values) -> Values:
    """Reshape (H, W) to (h, 16, w, 16), without incomplete blocks."""
    height, width = (side // _BLOCK for side in values.shape)
    return values[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)


def estimate_spare_detail(plane: Plane) -> float:
    """Return the largest factor by which a plane can be downscaled and upscaled at little loss, or 1."""
    found = 1.0
    for factor in _FACTORS:
        height, width = (max(4, round(side / factor)) for side in plane.shape)
        small = resize(plane, height, width, "lanczos")
        back = resize(small, plane.shape[0], plane.shape[1], "lanczos")
        error = (back - plane)[8:-8, 8:-8] ** 2
        if -10 * np.log10(error.mean() + 1e-12) < _NOTHING_LOST or _is_lost_somewhere(error):
            break
        found = factor
    return found


def _is_lost_somewhere(error: Plane) -> bool:
    """Tell whether a tenth of the blocks lose detail: of a sharp object in the sky, the mean says little."""
    if min(error.shape) < 2 * _BLOCK:
        return False
    worst = float(find_quantiles(_blocks(error).mean(axis=(1, 3)), 0.9)[0])
    return -10 * math.log10(worst + 1e-12) < _LITTLE_LOST
