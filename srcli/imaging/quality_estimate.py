"""Quality of an image estimated from its pixels: noise, and detail lost to blur or to earlier upscaling."""

from dataclasses import dataclass

import numpy as np

from srcli.imaging.color import luma
from srcli.imaging.pixels import Pixels, Plane, Values
from srcli.imaging.resize import resize

_FACTORS = (1.5, 2.0, 3.0, 4.0)
# PSNR in dB after downscaling and upscaling again: 26 to 39 for photographs, 40 to 50 for those that had been
# upscaled by the same factor before.
_NOTHING_LOST = 40.0
_BLOCK = 16
_MARGIN = 0.1
_LARGEST = 1024
_SMALLEST = 32
_NOISY, _COARSE = 4.0, 85


@dataclass(frozen=True)
class QualityEstimate:
    """`noise` is a deviation in levels of 255; the detail would fit into an image `spare` times smaller."""

    noise: float
    spare: float


def estimate_quality(pixels: Pixels) -> QualityEstimate:
    """Estimate the quality of the middle of an image; below 32 pixels a side, nothing is found."""
    plane = _middle((luma(pixels) - np.float32(16 / 255)) * np.float32(255 / 219))
    if min(plane.shape) < _SMALLEST:
        return QualityEstimate(0, 1)
    return QualityEstimate(estimate_noise(plane), estimate_spare_detail(plane))


def _middle(plane: Plane) -> Plane:
    top, left = (max(0, side - _LARGEST) // 2 for side in plane.shape)
    return plane[top : top + _LARGEST, left : left + _LARGEST]


def estimate_noise(plane: Plane) -> float:
    """Estimate noise from the calmest tenth of the blocks.

    The Laplacian mask is Immerkaer's (CVIU 64, 1996, 300-302). Blocks near black or white are ignored:
    clipping hides their noise.
    """
    p = plane.astype(np.float64)
    corners = p[:-2, :-2] + p[:-2, 2:] + p[2:, :-2] + p[2:, 2:]
    sides = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    response = (corners - 2 * sides + 4 * p[1:-1, 1:-1]) / 6
    deviation = _blocks(response).std(axis=(1, 3))
    level = _blocks(p[1:-1, 1:-1]).mean(axis=(1, 3))
    inside = deviation[(level > _MARGIN) & (level < 1 - _MARGIN)]
    return 255 * float(np.quantile(inside if inside.size else deviation, 0.1))


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
        error = float(np.mean((back - plane)[8:-8, 8:-8] ** 2))
        if -10 * np.log10(error + 1e-12) < _NOTHING_LOST:
            break
        found = factor
    return found


def list_defects(estimate: QualityEstimate, quality: int | None) -> list[str]:
    """Describe the defects of an image in words; `quality` is the estimated quality of a JPEG."""
    reasons = [
        (estimate.noise > _NOISY, f"noise of about {estimate.noise:.0f} in 255"),
        (quality is not None and quality < _COARSE, f"JPEG of quality {quality}"),
        (estimate.spare > 1, f"no more detail than at 1/{estimate.spare:g} of the size"),
    ]
    return [words for holds, words in reasons if holds]
