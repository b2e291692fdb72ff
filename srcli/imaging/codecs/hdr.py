"""Radiance HDR, through OpenCV, which knows one order of axes and RGB only; the rest is done here.

Source: G. Ward, Radiance file formats, https://radsite.lbl.gov/radiance/refer/filefmts.pdf
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging import colorspace
from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import FloatCodec, read_head
from srcli.imaging.pixels import StoredSamples

_HEAD_BYTES = 65536
_SIZE = re.compile(rb"\n([-+])([XY]) (\d+) ([-+])([XY]) (\d+)\n")
# The primaries and the white of Radiance, which XYZ is converted to.
_PRIMARIES, _WHITE = ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)), (1 / 3, 1 / 3)


@dataclass(frozen=True)
class Header:
    """The header of a file: `lines` of `length` pixels, along X and Y in either direction, from `at` on."""

    lines: int
    length: int
    is_upright: bool
    flips_lines: bool
    flips_pixels: bool
    is_xyz: bool
    at: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return (self.length, self.lines) if self.is_upright else (self.lines, self.length)


class HdrCodec(FloatCodec):
    """Radiance HDR."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) from the header."""
        return parse_header(read_head(path, _HEAD_BYTES)).size

    def read_samples(self, path: Path) -> StoredSamples:
        """Decode (H, W, 3) RGB, the top left pixel first."""
        data = path.read_bytes()
        header = parse_header(data[:_HEAD_BYTES])
        plain = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (header.lines, header.length)
        samples = opencv.decode_bytes(plain + data[header.at :])
        samples = samples[:: -1 if header.flips_lines else 1, :: -1 if header.flips_pixels else 1]
        if not header.is_upright:
            samples = samples.swapaxes(0, 1)
        if header.is_xyz:
            to_rgb = np.linalg.inv(colorspace.compute_rgb_to_xyz(_PRIMARIES, _WHITE))
            samples = samples @ to_rgb.T.astype(np.float32)
        return np.ascontiguousarray(samples)

    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W, 3), or (H, W) as RGB, which is all the format has."""
        if samples.ndim == 2:
            samples = np.repeat(samples[..., None], 3, axis=2)
        file.write(opencv.encode(samples, ".hdr"))


def parse_header(head: bytes) -> Header:
    """Parse the header. Raises `ValueError` if it has no size, or names the same axis twice."""
    found = _SIZE.search(head)
    if not found or found[2] == found[5]:
        raise ValueError("its header has no size")
    # Y counts upwards and X to the right, so that -Y +X is the usual order.
    flips_lines, flips_pixels = (
        found[sign] != (b"-" if found[axis] == b"Y" else b"+") for sign, axis in ((1, 2), (4, 5))
    )
    is_xyz = b"FORMAT=32-bit_rle_xyze" in head[: found.start()]
    return Header(
        int(found[3]), int(found[6]), found[2] == b"Y", flips_lines, flips_pixels, is_xyz, found.end()
    )


CODEC = HdrCodec(
    name="HDR",
    suffixes=(".hdr",),
    signatures=(b"#?",),
    depths=(32,),
    channels=(3,),
    loss="8 bits per channel with a shared exponent",
    extra="opencv",
    package="cv2",
)
