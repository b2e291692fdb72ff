"""What a picture has been through, estimated from its pixels: noise, and detail lost to blur or enlarging."""

from dataclasses import dataclass

import numpy as np

from srcli.imaging.color import luma
from srcli.imaging.pixels import Pixels, Plane, Values
from srcli.imaging.resize import resize

_FACTORS = (1.5, 2.0, 3.0, 4.0)
# Photographs reduced by such a factor and enlarged again have 26 to 39 dB left; those that had been enlarged
# by it before, 40 to 50 dB.
_NOTHING_LOST = 40.0
_BLOCK = 16
_MARGIN = 0.1
_LARGEST = 1024
_SMALLEST = 32
_NOISY, _COARSE = 4.0, 85


@dataclass(frozen=True)
class QualityEstimate:
    """Noise as a deviation in levels of 255; the detail would fit into an image `spare` times smaller."""

    noise: float
    spare: float


def estimate_quality(pixels: Pixels) -> QualityEstimate:
    """Estimates of the middle of an image; of one below 32 pixels, none."""
    plane = _middle((luma(pixels) - np.float32(16 / 255)) * np.float32(255 / 219))
    if min(plane.shape) < _SMALLEST:
        return QualityEstimate(0, 1)
    return QualityEstimate(estimate_noise(plane), estimate_spare_detail(plane))


def _middle(plane: Plane) -> Plane:
    top, left = (max(0, side - _LARGEST) // 2 for side in plane.shape)
    return plane[top : top + _LARGEST, left : left + _LARGEST]


def estimate_noise(plane: Plane) -> float:
    """In the calmest tenth of the blocks, by the Laplacian mask of Immerkaer (CVIU 64, 1996, 300-302).

    Blocks near black or white are left out, where noise is cut off.
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
    """(H, W) as (h, 16, w, 16), without what is left over."""
    height, width = (side // _BLOCK for side in values.shape)
    return values[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)


def estimate_spare_detail(plane: Plane) -> float:
    """The largest factor by which a plane can be reduced and enlarged again at little loss; 1 if by none."""
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


def list_defects(found: QualityEstimate, quality: int | None) -> list[str]:
    """Why a network for spoilt images would suit, in words; none for a clean one. `quality` is a JPEG's."""
    reasons = [
        (found.noise > _NOISY, f"noise of about {found.noise:.0f} in 255"),
        (quality is not None and quality < _COARSE, f"JPEG of quality {quality}"),
        (found.spare > 1, f"no more detail than at 1/{found.spare:g} of the size"),
    ]
    return [words for holds, words in reasons if holds]
