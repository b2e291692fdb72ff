"""Corrections of an enlarged image by the image it was made from: back-projection and colour transfer."""

import numpy as np

from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize

_ROUNDS = 20
_CLOSE_ENOUGH = 0.25 / 255
_COLOUR_CELL = 8


def back_project(large: Pixels, small: Pixels) -> Pixels:
    """`large` changed so that reduced by bicubic it equals `small` to within rounding, or nearly.

    Iterative back-projection: Irani and Peleg, CVGIP 53 (1991), 231-239. Values in [0, 1].
    """
    for _ in range(_ROUNDS):
        error = small - _like(large, small)
        if np.abs(error).max() < _CLOSE_ENOUGH:
            break
        large = np.clip(large + _like(error, large), 0, 1)
    return large


def transfer_colours(small: Pixels, large: Pixels) -> Pixels:
    """`large` with the coarse colours of `small`: means over cells of 8 of its pixels."""
    shift = small - _like(large, small)
    height, width = (max(1, round(side / _COLOUR_CELL)) for side in shift.shape[:2])
    coarse = resize(shift, height, width, "bilinear")
    fixed: Pixels = large + resize(coarse, large.shape[0], large.shape[1], "bilinear")
    return fixed.clip(0, 1)


def _like(pixels: Pixels, other: Pixels) -> Pixels:
    return resize(pixels, other.shape[0], other.shape[1])
