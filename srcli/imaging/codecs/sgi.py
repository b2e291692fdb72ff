"""Silicon Graphics images; read, not written. Pillow reads 8 bits, and would read 16 as 8.

Source: P. Haeberli, The SGI image file format, version 1.00.
"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srcli.imaging.codecs.base import read_head
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_HEADER_BYTES = 512
_IS_DEEP, _IS_COMPRESSED = 3, 2  # where the header says so


class SgiCodec(PillowCodec):
    """SGI."""

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return 8 or 16."""
        return read_head(path, _HEADER_BYTES)[_IS_DEEP] * 8

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode planes of two bytes per sample, whose bottom row is stored first."""
        data, (width, height) = path.read_bytes(), file.size
        channels = len(file.getbands())
        if data[_IS_COMPRESSED]:
            starts = np.frombuffer(data, ">u4", height * channels, _HEADER_BYTES)
            rows = [_expand_row(data, int(start), width) for start in starts]
            values = np.array(rows, np.uint16)
        else:
            values = np.frombuffer(data, ">u2", height * width * channels, _HEADER_BYTES)
        planes = values.reshape(channels, height, width)[:, ::-1].astype(np.uint16)
        return planes[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(planes, 0, -1))


def _expand_row(data: bytes, at: int, width: int) -> list[int]:
    """Decode a row of runs: a count in the low seven bits, and a bit that tells copies from repeats."""
    out: list[int] = []
    while len(out) < width:
        (control,) = struct.unpack_from(">H", data, at)
        count = control & 127
        if not count:
            raise ValueError("a row ends before its width")
        stored = count if control & 128 else 1
        values = struct.unpack_from(f">{stored}H", data, at + 2)
        out += values if control & 128 else values * count
        at += 2 + 2 * stored
    return out[:width]


CODEC = SgiCodec(
    name="SGI",
    read_suffixes=(
        ".sgi",
        ".rgb",
        ".rgba",
        ".bw",
    ),
    signatures=(b"\x01\xda",),
    plugin="SgiImagePlugin",
    read_depths=(8, 16),
    read_channels=(1, 3, 4),
)
