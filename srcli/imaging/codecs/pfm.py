"""Portable float maps, through OpenCV."""

import re
from pathlib import Path
from typing import BinaryIO

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import FloatCodec, read_head
from srcli.imaging.pixels import StoredSamples


class PfmCodec(FloatCodec):
    """PFM."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) from the header."""
        header = re.match(rb"P[Ff]\s+(\d+)\s+(\d+)\s", read_head(path, 65536))
        if not header:
            raise ValueError("its header has no size")
        return int(header[1]), int(header[2])

    def read_samples(self, path: Path) -> StoredSamples:
        """Decode (H, W) or (H, W, 3)."""
        return opencv.decode(path)

    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W) or (H, W, 3)."""
        file.write(opencv.encode(samples, ".pfm"))


CODEC = PfmCodec(name="PFM", suffixes=(".pfm",), signatures=(b"PF\n", b"Pf\n"), depths=(32,))
