"""The default limit on the pixels of an input: what its file can hold, and what memory has room for."""

from pathlib import Path

from srcli.engine.memory import free_memory
from srcli.imaging.codecs.base import MAX_PIXELS

# A small file that claims a huge image is an attack or a mistake: photographs have 1 to 10 pixels per byte.
_SMALL_FILE_PIXELS = 2**24
_PIXELS_PER_BYTE = 64
# A pixel while it is decoded, and the share of free memory that an input may take.
_PIXEL_BYTES = 16
_SHARE = 0.5


def choose_max_pixels(path: Path, given: int | None) -> int:
    """Return the most pixels, over all frames, that the image at `path` may have: `given`, or the default."""
    if given is not None:
        return given
    plausible = max(_SMALL_FILE_PIXELS, path.stat().st_size * _PIXELS_PER_BYTE)
    return int(min(MAX_PIXELS, plausible, free_memory() * _SHARE / _PIXEL_BYTES))
