"""Resizing like MATLAB's imresize: separable kernels, widened for downscaling, symmetric borders.

Pixel centres of input and output are aligned at half-pixel positions; the vertical pass comes first.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.pixels import Pixels, quantise

Array = NDArray[np.float64]
Taps = tuple[NDArray[np.intp], Array]

_BLOCK = 64


@dataclass(frozen=True)
class Kernel:
    """A function of the distance in input pixels, zero beyond `radius`."""

    weight: Callable[[Array], Array]
    radius: float
    antialias: bool = True


def _box(x: Array) -> Array:
    inside: Array = ((x >= -0.5) & (x < 0.5)).astype(np.float64)
    return inside


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def _cubic(x: Array) -> Array:
    """Keys' cubic convolution with a = -0.5."""
    d = np.abs(x)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d <= 1, near, np.where(d <= 2, far, 0))


def _lanczos3(x: Array) -> Array:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


KERNELS: dict[str, Kernel] = {
    "nearest": Kernel(_box, 0.5, antialias=False),
    "bilinear": Kernel(_triangle, 1),
    "bicubic": Kernel(_cubic, 2),
    "lanczos": Kernel(_lanczos3, 3),
}


@lru_cache(maxsize=8)
def compute_taps(size: int, out: int, kernel: Kernel) -> Taps:
    """Compute for one axis which inputs (out, n) each output reads, and their weights (out, n).

    Each row of weights sums to one. `size` and `out` are lengths in pixels. The arrays are shared by all
    bands and images of a size, and so read-only.
    """
    ratio = out / size
    stretch = max(1.0, 1 / ratio) if kernel.antialias else 1.0
    centre = (np.arange(out) + 0.5) / ratio - 0.5
    first = np.floor(centre - kernel.radius * stretch) + 1
    count = int(np.ceil(2 * kernel.radius * stretch)) + 1
    index = first[:, None] + np.arange(count)
    weights = kernel.weight((centre[:, None] - index) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    found = reflect(index[:, used].astype(np.intp), size), weights[:, used]
    for array in found:
        array.flags.writeable = False
    return found


def reflect(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Mirror positions outside 0..size-1 at the borders, with the border pixel repeated."""
    folded = np.mod(index, 2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)


def _resize_rows(values: NDArray[np.floating], out: int, kernel: Kernel) -> NDArray[np.floating]:
    """Resize the first axis to length `out`."""
    return sum_weighted(values, *compute_taps(values.shape[0], out, kernel))


def sum_weighted(
    values: NDArray[np.floating], index: NDArray[np.intp], weights: Array
) -> NDArray[np.floating]:
    """Sum along the first axis: each output adds the inputs `index` (out, n) times `weights` (out, n).

    Works on blocks of rows, so that the sums stay in the cache.
    """
    weights = weights.astype(values.dtype)
    flat = np.ascontiguousarray(values).reshape(values.shape[0], -1)
    result = np.empty((len(index), flat.shape[1]), values.dtype)
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        total = result[rows]
        np.multiply(flat[index[rows, 0]], weights[rows, :1], out=total)
        for k in range(1, index.shape[1]):
            total += flat[index[rows, k]] * weights[rows, k : k + 1]
    return result.reshape(len(index), *values.shape[1:])


def resize(pixels: Pixels, height: int, width: int, method: str = "bicubic") -> Pixels:
    """Resize (H, W) or (H, W, C) to `height` x `width` pixels; not clipped.

    `method` is a key of `KERNELS`. Source: MATLAB's documented imresize algorithm.
    """
    return apply_taps(pixels, compute_taps(pixels.shape[0], height, KERNELS[method]), width, method)


def resize_8bit(pixels: Pixels, height: int, width: int, method: str = "bicubic") -> Pixels:
    """Resize an 8-bit image: values are rounded to 8-bit levels after each pass, as MATLAB does for uint8.

    The low-resolution images of the papers were made like this; values in and out are in [0, 1].
    """
    return apply_taps_8bit(pixels, compute_taps(pixels.shape[0], height, KERNELS[method]), width, method)


def apply_taps(pixels: Pixels, tall: Taps, width: int, method: str = "bicubic") -> Pixels:
    """Resize rows by the taps `tall` (see `compute_taps`), then columns to `width`."""
    high = sum_weighted(pixels, *tall)
    return np.ascontiguousarray(_resize_rows(high.swapaxes(0, 1), width, KERNELS[method]).swapaxes(0, 1))


def apply_taps_8bit(pixels: Pixels, tall: Taps, width: int, method: str) -> Pixels:
    """Apply taps as `apply_taps` does, rounded to 8-bit levels after each pass."""
    high = _round_levels(sum_weighted(quantise(pixels.astype(np.float64)), *tall))
    wide = _round_levels(_resize_rows(high.swapaxes(0, 1), width, KERNELS[method])).swapaxes(0, 1)
    return np.ascontiguousarray(wide, np.float32) / np.float32(255)


def _round_levels(levels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Round and clip to 0..255 in place; halves go up."""
    levels += 0.5
    np.floor(levels, out=levels)
    return np.clip(levels, 0, 255, out=levels)
