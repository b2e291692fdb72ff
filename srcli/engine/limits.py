"""The default limit on the pixels of an input: what its file may hold, and what memory has room for."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcli.engine.memory import free_memory
from srcli.errors import ImageError
from srcli.imaging.codecs.base import PixelLimitError
from srcli.imaging.codecs.reading import count_plausible_pixels
from srcli.imaging.image import Image, read_image

# A pixel while it is decoded, and the share of free memory that an input may take.
_PIXEL_BYTES = 16
_SHARE = 0.5
# An image that is held whole, as floats, takes 160 bytes a pixel while it is scored, and more time.
_WHOLE_PIXELS, _WHOLE_BYTES, _WHOLE_PIXELS_PER_BYTE = 3 * 10**6, 10**6, 10


def choose_max_pixels(path: Path, given: int | None) -> int:
    """Return the most pixels, over all frames, that the image at `path` may have: `given`, or the default.

    Raises `ImageError` for a file that is no image.
    """
    if given is not None:
        return given
    return int(min(count_plausible_pixels(path), free_memory() * _SHARE / _PIXEL_BYTES))


def read_within_limit(path: Path, max_pixels: int | None = None) -> Image:
    """Read the first image of a file that is held whole; by default, its limit is lower than for streams.

    Raises `ImageError` as `read_image` does, or for too many pixels.
    """
    most = choose_max_pixels(path, max_pixels)
    if max_pixels is None:
        excess = max(0, path.stat().st_size - _WHOLE_BYTES)
        most = min(most, _WHOLE_PIXELS + _WHOLE_PIXELS_PER_BYTE * excess)
    return read_image(path, most)


@contextmanager
def explain_fixed_limit(path: Path) -> Iterator[None]:
    """Give the error for a file of too many pixels a hint that works in commands without `--max-pixels`."""
    try:
        yield
    except PixelLimitError as error:
        limit = f"--max-pixels {error.needed}"
        command = f"sr upscale {shlex.quote(str(path))} {limit} --megapixels 4 -o smaller.png"
        raise ImageError(error.message, f"leave it out, or make it smaller: {command}") from error
