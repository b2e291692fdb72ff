"""The default limit on the pixels of an input: what its file may hold, and what memory has room for."""

from pathlib import Path

from srcli.engine.memory import free_memory
from srcli.imaging.codecs.reading import count_plausible_pixels
from srcli.imaging.image import Image, read_image

# A pixel while it is decoded, and the share of free memory that an input may take.
_PIXEL_BYTES = 16
_SHARE = 0.5


def choose_max_pixels(path: Path, given: int | None) -> int:
    """Return the most pixels, over all frames, that the image at `path` may have: `given`, or the default.

    Raises `ImageError` for a file that is no image.
    """
    if given is not None:
        return given
    return int(min(count_plausible_pixels(path), free_memory() * _SHARE / _PIXEL_BYTES))


def read_within_limit(path: Path) -> Image:
    """Read the first image of a file. Raises `ImageError` as `read_image` does, or for too many pixels."""
    return read_image(path, choose_max_pixels(path, None))
