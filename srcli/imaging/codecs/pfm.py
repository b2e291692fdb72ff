"""Portable float maps. https://netpbm.sourceforge.net/doc/pfm.html"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from srcli.imaging.codecs.base import FloatCodec, read_head
from srcli.imaging.pixels import StoredSamples

_HEADER = re.compile(rb"P([Ff])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s")


class PfmCodec(FloatCodec):
    """PFM."""

    def sniff(self, head: bytes) -> bool:
        """Recognise PF or Pf and white space."""
        return head[:2] in (b"PF", b"Pf") and head[2:3].isspace()

    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) from the header."""
        header = _parse_header(read_head(path, 65536))
        return int(header[2]), int(header[3])

    def read_samples(self, path: Path) -> StoredSamples:
        """Decode (H, W) or (H, W, 3); the bottom row is stored first, and the scale is taken as white."""
        data = path.read_bytes()
        header = _parse_header(data[:65536])
        scale, shape = float(header[4]), (int(header[3]), int(header[2]), *[3] * (header[1] == b"F"))
        if not scale:
            raise ValueError("its scale is 0")
        values = np.frombuffer(data, "<f4" if scale < 0 else ">f4", int(np.prod(shape)), header.end())
        return values.reshape(shape)[::-1].astype(np.float32) / np.float32(abs(scale))

    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W) or (H, W, 3)."""
        height, width = samples.shape[:2]
        file.write(b"P%c\n%d %d\n-1.0\n" % (b"F" if samples.ndim == 3 else b"f", width, height))
        file.write(samples[::-1].astype("<f4").tobytes())


def _parse_header(head: bytes) -> re.Match[bytes]:
    header = _HEADER.match(head)
    if not header:
        raise ValueError("its header has no size")
    return header


CODEC = PfmCodec(name="PFM", suffixes=(".pfm",), depths=(32,))
