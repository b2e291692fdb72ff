"""Pixel art, enlarged as squares: squares that JPEG has blurred are made even before."""

import math
from typing import ClassVar

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging import rows
from srcli.imaging.picture_kind import find_pixel_side
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.resize import Array, Kernel, compute_taps, sum_weighted
from srcli.imaging.rows import Rows
from srcli.methods.base import Method
from srcli.methods.scaling import compute_output_size

PIXEL_ART = "pixel-art"


def _cover(distance: Array) -> Array:
    return np.asarray(((distance >= -0.5) & (distance < 0.5)), np.float64)


_AREA = Kernel(_cover, 0.5)


@dataclass(frozen=True)
class PixelArt(Method):
    """A scaler that repeats pixels up to the next whole scale and reduces by area.

    Squares of four pixels become squares of ten at a scale of 2.5, all of them equal.
    """

    streams: ClassVar[bool] = False

    def stream(self, source: Rows, scale: float) -> Rows:
        """Enlarge the whole image."""
        pixels = source.whole()
        even = even_squares(pixels, find_pixel_side(to_uint8(pixels)))
        factor = math.ceil(scale)
        large = even.repeat(factor, 0).repeat(factor, 1)
        height, width = compute_output_size(pixels, scale)
        if large.shape[:2] != (height, width):
            tall = sum_weighted(large, *compute_taps(large.shape[0], height, _AREA)).swapaxes(0, 1)
            large = sum_weighted(tall, *compute_taps(large.shape[1], width, _AREA)).swapaxes(0, 1)
        return rows.of(np.ascontiguousarray(large, np.float32))


def even_squares(pixels: Pixels, side: int) -> Pixels:
    """Return an image (H, W, 3) of squares, the first of which may be cut, with the median colour in each."""
    if side < 2:
        return pixels
    padding = [_find_padding(plane, side) for plane in (pixels, pixels.swapaxes(0, 1))]
    whole = np.pad(pixels, [*padding, (0, 0)], "edge")
    height, width = (length // side for length in whole.shape[:2])
    colours = np.median(whole.reshape(height, side, width, side, 3), axis=(1, 3))
    (top, _), (left, _) = padding
    even: Pixels = colours.repeat(side, 0).repeat(side, 1)[top:, left:]
    return even[: pixels.shape[0], : pixels.shape[1]]


def _find_padding(pixels: Pixels, side: int) -> tuple[int, int]:
    """Return how many rows the first and the last square lack."""
    steps = np.abs(np.diff(pixels, axis=0)).sum(axis=(1, 2))
    first = (max(range(side), key=lambda start: float(steps[start::side].sum())) + 1) % side
    before = (side - first) % side
    return before, -(len(pixels) + before) % side
