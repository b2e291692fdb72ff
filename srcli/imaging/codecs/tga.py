"""Truevision TGA, which has no signature: it is read, not written, and tried last."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srcli.imaging.codecs.base import Frame
from srcli.imaging.codecs.pillow import PillowCodec, read_8bit
from srcli.imaging.metadata.fields import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_IMAGE_TYPES = (1, 2, 3, 9, 10, 11)
_PIXEL_BITS = (1, 8, 16, 24, 32)


class TgaCodec(PillowCodec):
    """TGA through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Check that the fields of the header have values that TGA allows."""
        if len(head) < 18:
            return False
        width, height = struct.unpack_from("<HH", head, 12)
        return (
            head[1] in (0, 1)
            and head[2] in _IMAGE_TYPES
            and head[16] in _PIXEL_BITS
            and width > 0
            and height > 0
        )

    def read_8bit(self, file: "PilImage", path: Path, metadata: Metadata) -> Frame:
        """Decode with Pillow, without an alpha channel that is 0 everywhere: many writers leave it unused."""
        frame = read_8bit(file, metadata)
        if not frame.has_alpha or frame.samples[..., -1].any():
            return frame
        samples = frame.samples[..., :-1] if frame.samples.shape[2] > 2 else frame.samples[..., 0]
        return Frame(np.ascontiguousarray(samples), frame.depth, metadata)


CODEC = TgaCodec(
    name="TGA",
    read_suffixes=(".tga",),
    plugin="TgaImagePlugin",
    read_depths=(8,),
    read_channels=(1, 2, 3, 4),
)
