"""AVIF; 10 and 12 bits are read as 16, except those of animations. https://aomediacodec.github.io/av1-avif/"""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import read_head, stretch_to_16bit
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_BRANDS = (b"avif", b"avis")
# Brands of the container, which HEIF has too; the coding is among the compatible brands then.
_CONTAINER_BRANDS = (b"mif1", b"msf1")


class AvifCodec(PillowCodec):
    """AVIF through Pillow, and through OpenCV for more than 8 bits."""

    def sniff(self, head: bytes) -> bool:
        """Recognise an ISO media file (ISO/IEC 14496-12, 4.3) with a brand of AVIF."""
        if head[4:8] != b"ftyp" or len(head) < 16:
            return False
        if head[8:12] in _BRANDS:
            return True
        length = min(struct.unpack_from(">I", head)[0], len(head))
        compatible = {head[at : at + 4] for at in range(16, length, 4)}
        return head[8:12] in _CONTAINER_BRANDS and not compatible.isdisjoint(_BRANDS)

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Read the bits from `av1C`; Pillow decodes animations, and then with 8."""
        if getattr(file, "n_frames", 1) > 1:
            return 8
        # The third byte has high_bitdepth and twelve_bit (AV1 in ISO media files, 2.3.3).
        head = read_head(path, 65536)
        at = head.find(b"av1C")
        flags = head[at + 6] if 0 <= at < len(head) - 6 else 0
        return 8 if not flags & 64 else 12 if flags & 32 else 10

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode with OpenCV, which leaves the upper bits empty."""
        samples = stretch_to_16bit(opencv.decode(path), self.read_bits(file, path))
        return opencv.check_16bit(samples, file.size)


CODEC = AvifCodec(
    name="AVIF",
    suffixes=(".avif",),
    channels=(1, 3, 4),
    frame_kind="animation",
    metadata_kinds=("icc", "exif", "xmp"),
    default_quality=90,
    default_subsampling="4:2:0",
    largest_side=32768,
    plugin="AvifImagePlugin",
)
