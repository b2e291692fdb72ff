"""HEIF and HEIC, through pillow-heif where it is installed; several images in a file are pages."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srcli.imaging.codecs.base import (
    Coding,
    EncodingOptions,
    Frame,
    FrameTiming,
    check_pixel_count,
    read_head,
    stretch_to_16bit,
)
from srcli.imaging.codecs.nclx import read_nclx, write_nclx
from srcli.imaging.codecs.orientation import turn_upright
from srcli.imaging.codecs.pillow import PillowCodec, read_8bit
from srcli.imaging.metadata.fields import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage
    from pillow_heif import HeifImage

# `mif1` and `msf1` are brands of the container; AVIF, which has them too, is tried first.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


class HeifCodec(PillowCodec):
    """HEIF through the plugin that pillow-heif has for Pillow."""

    def load_plugin(self) -> None:
        """Register the plugin of pillow-heif."""
        import pillow_heif

        pillow_heif.register_heif_opener()

    def sniff(self, head: bytes) -> bool:
        """Recognise an ISO media file (ISO/IEC 14496-12, 4.3) with a brand of HEIF."""
        return head[4:8] == b"ftyp" and head[8:12] in _BRANDS

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return 8, 10 or 12."""
        return int(file.info.get("bit_depth", 8))

    def read_coding(self, path: Path) -> Coding:
        """Read the subsampling of the first colour picture from `hvcC` (ISO/IEC 14496-15, 8.3.2.1)."""
        head, at = read_head(path, 65536), -1
        while 0 <= (at := head.find(b"hvcC", at + 1)) < len(head) - 20:
            subsampling = {1: "4:2:0", 2: "4:2:2", 3: "4:4:4"}.get(head[at + 20] & 3)
            if subsampling:
                return Coding(subsampling=subsampling)
        return Coding()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the pages without the plugin, which has 8 bits only and keeps every page that it decoded."""
        import pillow_heif

        with self.open(path) as file:
            check_pixel_count(path, file.size, max_pixels)
            metadata = self.read_metadata(file, path)
            orientation = self.read_orientation(file, metadata)
        pages = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
        while len(pages):
            check_pixel_count(path, pages[0].size, max_pixels)
            frame = _decode_page(pages[0], metadata)
            del pages[0]
            yield turn_upright(frame, orientation)

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return what Pillow found, and the primaries and the transfer function of `nclx`."""
        return replace(super().read_metadata(file, path), cicp=read_nclx(read_head(path, 65536)))

    def complete(self, data: bytes, first: Frame, timing: FrameTiming, suffix: str) -> bytes:
        """Add the colours."""
        return bytes(write_nclx(bytearray(data), first.metadata))

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the quality, -1 for lossless."""
        options = super().encoding_options(frame, encoding, suffix)
        return options | {"quality": -1} if encoding.lossless else options


def _decode_page(page: "HeifImage", metadata: Metadata) -> Frame:
    bits: Any = page.info.get("bit_depth", 8)
    if bits > 8:
        return Frame(stretch_to_16bit(np.asarray(page) >> (16 - bits), bits), 16, metadata)
    return read_8bit(page.to_pillow(), metadata)


CODEC = HeifCodec(
    name="HEIF",
    suffixes=(".heic", ".heif"),
    channels=(1, 3, 4),
    frame_kind="pages",
    metadata_kinds=("icc", "exif", "xmp", "cicp"),
    default_quality=90,
    has_lossless=True,
    default_subsampling="4:2:0",
    extra="heif",
    package="pillow_heif",
    read_depths=(10, 12),
)
