"""RGB and YCbCr as ITU-R BT.601 defines them in studio range, and as MATLAB's rgb2ycbcr computes them."""

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import Pixels, Plane

# Rows give Y, Cb, Cr; the range of each is 16..235 or 16..240 of 255, here divided by 255.
_FORWARD = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
_OFFSET = np.array([16.0, 128.0, 128.0]) / 255
_INVERSE = np.linalg.inv(_FORWARD)
# The share of luma in each of R, G and B of a grey.
_GAIN = np.float32(1 / _FORWARD[0].sum())
# The same for networks that contain the conversion: luma is RGB times weights, plus an offset.
LUMA_WEIGHTS, LUMA_OFFSET, LUMA_GAIN = _FORWARD[0], float(_OFFSET[0]), float(_GAIN)


def luma(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return Y of (H, W, 3) RGB in [0, 1], in 16/255..235/255; keeps the dtype."""
    weighted: NDArray[np.floating] = pixels @ _FORWARD[0].astype(pixels.dtype)
    return weighted + pixels.dtype.type(_OFFSET[0])


def rgb_to_ycbcr(pixels: Pixels) -> Pixels:
    """Convert (H, W, 3) RGB in [0, 1] to Y, Cb, Cr in studio range, divided by 255."""
    return pixels @ _FORWARD.T.astype(np.float32) + _OFFSET.astype(np.float32)


def ycbcr_to_rgb(ycbcr: Pixels) -> Pixels:
    """Invert `rgb_to_ycbcr`; not clipped: out-of-gamut values leave [0, 1]."""
    return (ycbcr - _OFFSET.astype(np.float32)) @ _INVERSE.T.astype(np.float32)


def merge_luma(plane: Plane, chroma_of: Pixels) -> Pixels:
    """Return RGB with the luma `plane` (H, W), and Cb and Cr of the RGB image `chroma_of` (H, W, 3)."""
    return add_luma(remove_luma(chroma_of), plane)


def remove_luma(pixels: Pixels) -> Pixels:
    """Subtract the grey of its luma from RGB (H, W, 3); this is linear, so the rest can be resized."""
    return add_luma(pixels, 2 * np.float32(_OFFSET[0]) - luma(pixels))


def add_luma(rest: Pixels, plane: Plane) -> Pixels:
    """Add a luma plane (H, W) to what `remove_luma` left; the inverse of it."""
    grey = (plane - np.float32(_OFFSET[0])) * _GAIN
    return rest + grey[..., None]


def luma_to_rgb(plane: Plane) -> Pixels:
    """Return grey RGB (H, W, 3) with the luma `plane` (H, W); its channels are equal to the bit."""
    grey = (plane - np.float32(_OFFSET[0])) / np.float32(_FORWARD[0].sum())
    return np.repeat(grey[..., None], 3, axis=2)
