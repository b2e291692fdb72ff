"""Windows icons, of which the largest picture is read; not written."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from srcli.imaging.codecs.base import Frame, check_pixel_count
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.codecs.png_chunks import SIGNATURE

# The beginnings of pictures within an icon, with their sides: PNG, and JPEG 2000 (SIZ, 15444-1, A.5.1).
_PICTURE = re.compile(re.escape(SIGNATURE) + rb"....IHDR(.{8})|\xff\x4f\xff\x51....(.{8})", re.DOTALL)


class IconCodec(PillowCodec):
    """Icons through Pillow, which takes their sizes from pictures within, not from the directory."""

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the largest picture. Raises `ImageError` if any is too large."""
        for found in _PICTURE.finditer(path.read_bytes()):
            width, height = struct.unpack(">II", found[1] or found[2])
            check_pixel_count(path, (width, height), max_pixels)
        yield from super().read_frames(path, max_pixels)


CODEC = IconCodec(
    name="ICO",
    read_suffixes=(".ico",),
    signatures=(b"\x00\x00\x01\x00",),
    plugin="IcoImagePlugin",
    read_depths=(8,),
    read_channels=(4,),
)
