"""Portable any-maps: PBM, PGM and PPM, plain and binary; 16 bits through OpenCV."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import read_head
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_DEEP_HEADER = re.compile(rb"P[2356](?:\s*#[^\n]*\n)*\s+\d+\s+\d+\s+(\d+)\s")


class PnmCodec(PillowCodec):
    """PBM, PGM and PPM."""

    def sniff(self, head: bytes) -> bool:
        """Recognise P1 to P6."""
        return re.match(rb"P[1-6]\s", head) is not None

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return 16 for a maximum above 255, else 8."""
        header = _DEEP_HEADER.match(read_head(path, 4096))
        return 16 if header is not None and int(header[1]) > 255 else 8

    def encode_16bit(self, samples: StoredSamples) -> bytes:
        """Encode as binary PGM or PPM, whatever the suffix says: OpenCV's .pgm is grey, its .ppm colour."""
        return opencv.encode(samples, ".pnm")


CODEC = PnmCodec(
    name="PPM",
    suffixes=(".ppm", ".pgm", ".pnm"),
    depths=(8, 16),
    plugin="PpmImagePlugin",
)
