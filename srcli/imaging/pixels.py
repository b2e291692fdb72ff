"""`Pixels`, float32 arrays (H, W, 3) of RGB in [0, 1], and how they become 8-bit samples and back."""

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Plane = NDArray[np.float32]
Values = NDArray[np.floating]
Samples = NDArray[np.unsignedinteger]
StoredSamples = NDArray[np.number]


def white_level(samples: StoredSamples) -> int:
    """Return the value of white for uint8, uint16 or float samples.

    >>> white_level(np.zeros(1, np.uint16))
    65535
    """
    return {"uint8": 255, "uint16": 65535}.get(samples.dtype.name, 1)


def quantise(values: NDArray[np.floating], levels: int = 255) -> NDArray[np.floating]:
    """Round values in [0, 1] to levels 0..`levels`, still as floats; halves go up, as in MATLAB."""
    scaled: NDArray[np.floating] = np.asarray(np.clip(values, 0, 1))
    scaled *= levels
    scaled += 0.5
    return np.asarray(np.floor(scaled, out=scaled))


def to_uint8(pixels: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert values in [0, 1] to 8-bit samples."""
    return quantise(pixels).astype(np.uint8)


def from_uint8(samples: NDArray[np.uint8]) -> Pixels:
    """Convert 8-bit samples to values in [0, 1]."""
    return samples.astype(np.float32) / np.float32(255)


def crop_to_multiple(pixels: Pixels, multiple: float) -> Pixels:
    """Crop to the top left part whose sides are multiples of `multiple`, rounded to whole pixels."""
    height, width = (math.floor(max_multiple(side, multiple) * multiple + 0.5) for side in pixels.shape[:2])
    return pixels[:height, :width]


def max_multiple(side: int, multiple: float) -> int:
    """Return the largest n for which n times `multiple`, rounded, is at most `side`.

    >>> max_multiple(11, 4), max_multiple(10, 2.5), max_multiple(27, 2.73), max_multiple(26, 2.73)
    (2, 4, 10, 9)
    """
    return math.ceil((side + 0.5) / multiple) - 1


def is_grey(pixels: Pixels) -> bool:
    """Tell whether the three channels are equal in every pixel."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def is_8bit(pixels: Pixels) -> bool:
    """Tell whether every value is one of the 256 that 8-bit samples give."""
    return bool(np.array_equal(pixels, from_uint8(to_uint8(pixels))))
