"""Corrections of an enlarged image by the image it was made from: back-projection and colour transfer."""

import numpy as np

from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import resize

_ROUNDS = 20
_CLOSE_ENOUGH = 0.25 / 255
_COLOUR_CELL = 8


def back_project(large: Pixels, small: Pixels) -> Pixels:
    """Change `large` until downscaling it by bicubic gives `small`, within rounding or nearly so.

    Iterative back-projection: Irani and Peleg, CVGIP 53 (1991), 231-239. Values in [0, 1].
    """
    for _ in range(_ROUNDS):
        error = small - _resize_to(large, small)
        if np.abs(error).max() < _CLOSE_ENOUGH:
            break
        large = np.clip(large + _resize_to(error, large), 0, 1)
    return large


def transfer_colours(small: Pixels, large: Pixels) -> Pixels:
    """Give `large` the coarse colours of `small`: means over cells of 8x8 pixels of it."""
    shift = small - _resize_to(large, small)
    height, width = (max(1, round(side / _COLOUR_CELL)) for side in shift.shape[:2])
    coarse = resize(shift, height, width, "bilinear")
    fixed: Pixels = large + resize(coarse, large.shape[0], large.shape[1], "bilinear")
    return fixed.clip(0, 1)


def _resize_to(pixels: Pixels, other: Pixels) -> Pixels:
    return resize(pixels, other.shape[0], other.shape[1])
