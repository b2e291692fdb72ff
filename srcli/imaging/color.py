"""RGB and YCbCr as ITU-R BT.601 defines them in studio range, and as MATLAB's rgb2ycbcr computes them."""

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import Pixels, Plane

# Rows give Y, Cb, Cr; the range of each is 16..235 or 16..240 of 255, here divided by 255.
_FORWARD = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([16.0, 128.0, 128.0]) / 255
_INVERSE = np.linalg.inv(_FORWARD)
# Luma enters each of R, G and B by so much, since grey has no chroma.
_GAIN = np.float32(1 / _FORWARD[0].sum())


def luma(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Y of (H, W, 3) RGB in [0, 1], in 16/255..235/255; keeps the dtype."""
    weighted: NDArray[np.floating] = pixels @ _FORWARD[0].astype(pixels.dtype)
    return weighted + pixels.dtype.type(_OFFSET[0])


def rgb_to_ycbcr(pixels: Pixels) -> Pixels:
    """(H, W, 3) RGB in [0, 1] to Y, Cb, Cr in studio range over 255."""
    return pixels @ _FORWARD.T.astype(np.float32) + _OFFSET.astype(np.float32)


def ycbcr_to_rgb(ycbcr: Pixels) -> Pixels:
    """The inverse of `rgb_to_ycbcr`, not clipped: out-of-gamut values leave [0, 1]."""
    return (ycbcr - _OFFSET.astype(np.float32)) @ _INVERSE.T.astype(np.float32)


def merge_luma(plane: Plane, chroma_of: Pixels) -> Pixels:
    """RGB with luma `plane` (H, W) and the Cb, Cr of the RGB image `chroma_of` (H, W, 3)."""
    return add_luma(remove_luma(chroma_of), plane)


def remove_luma(pixels: Pixels) -> Pixels:
    """What is left of RGB when the grey of its luma is taken away; linear, so that it can be resized."""
    return add_luma(pixels, 2 * np.float32(_OFFSET[0]) - luma(pixels))


def add_luma(rest: Pixels, plane: Plane) -> Pixels:
    """RGB (H, W, 3) of what `remove_luma` left, and a luma (H, W)."""
    grey = (plane - np.float32(_OFFSET[0])) * _GAIN
    return rest + grey[..., None]


def luma_to_rgb(plane: Plane) -> Pixels:
    """Grey RGB (H, W, 3), its channels equal to the bit, with the luma `plane` (H, W)."""
    grey = (plane - np.float32(_OFFSET[0])) / np.float32(_FORWARD[0].sum())
    return np.repeat(grey[..., None], 3, axis=2)
