"""A whole image by a method: to any size, with its alpha, its greys, its range of values and its metadata."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from srcli.errors import ImageError
from srcli.imaging.alpha import bleed
from srcli.imaging.image import Image
from srcli.imaging.metadata import enlarged
from srcli.imaging.pixels import Pixels, is_grey
from srcli.imaging.resize import resize
from srcli.imaging.size import Size, Wanted
from srcli.methods import LARGEST_SCALE, Method

Find = Callable[[float], Method]


def enlarge(image: Image, find: Find, wanted: Wanted) -> Image:
    """`image` at the size that is wanted, by the method that `find` has for that scale.

    What is wanted smaller than it is gets reduced by bicubic. Raises `ImageError` for absurd sizes.
    """
    size = wanted.of(image.size)
    scale = _scale(image.size, size, wanted)
    source = image.pixels if image.alpha is None else bleed(image.pixels, image.alpha)
    method = find(scale) if scale > 1 else None
    pixels = _in_range(source, lambda values: _at_size(values, method, scale, size))
    if is_grey(source):
        # To the bit, whatever a network for colours makes of it.
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    alpha = None if image.alpha is None else np.clip(resize(image.alpha, size[1], size[0]), 0, 1)
    return replace(
        image, pixels=pixels, alpha=alpha, metadata=enlarged(image.metadata, image.size, pixels.shape[1::-1])
    )


def _scale(old: Size, new: Size, wanted: Wanted) -> float:
    scale = wanted.scale or max(new[0] / old[0], new[1] / old[1])
    if scale > LARGEST_SCALE:
        sizes = f"{old[0]}x{old[1]} to {new[0]}x{new[1]}"
        raise ImageError(f"{sizes} is more than {LARGEST_SCALE} times", "ask for a smaller size")
    return scale


def _at_size(pixels: Pixels, method: Method | None, scale: float, size: Size) -> Pixels:
    """Values in [0, 1] through the method, and to the exact size."""
    out = method(pixels, scale) if method else pixels
    width, height = size
    return np.clip(out if out.shape[:2] == (height, width) else resize(out, height, width), 0, 1)


def _in_range(pixels: Pixels, work: Callable[[Pixels], Pixels]) -> Pixels:
    """`work`, which knows values in [0, 1], on values from 0 to any height.

    Light beyond 1 is compressed by log(1 + x), so that what is dark keeps its share of the range.
    """
    peak = float(pixels.max())
    if peak <= 1:
        return work(np.clip(pixels, 0, 1))
    top = np.log1p(np.float32(peak))
    return np.expm1(work(np.log1p(np.maximum(pixels, 0)) / top) * top)
