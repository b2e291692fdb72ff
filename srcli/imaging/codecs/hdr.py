"""Radiance HDR, through OpenCV."""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import FloatCodec, read_head
from srcli.imaging.pixels import StoredSamples


class HdrCodec(FloatCodec):
    """Radiance HDR."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) from the header."""
        header = re.search(rb"\n[-+]Y (\d+) [-+]X (\d+)\n", read_head(path, 65536))
        if not header:
            raise ValueError("its header has no size")
        return int(header[2]), int(header[1])

    def read_samples(self, path: Path) -> StoredSamples:
        """Decode (H, W, 3)."""
        return opencv.decode(path)

    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W, 3), or (H, W) as RGB, which is all the format has."""
        if samples.ndim == 2:
            samples = np.repeat(samples[..., None], 3, axis=2)
        file.write(opencv.encode(samples, ".hdr"))


CODEC = HdrCodec(
    name="HDR",
    suffixes=(".hdr",),
    signatures=(b"#?",),
    depths=(32,),
    channels=(3,),
    loss="8 bits per channel with a shared exponent",
)
