"""WebP, lossy and lossless, animated or not."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srcli.imaging.codecs.base import Coding, EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec


class WebPCodec(PillowCodec):
    """WebP through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Recognise a RIFF file of WebP data."""
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"

    def read_coding(self, path: Path) -> Coding:
        """Read whether all frames are lossless."""
        kinds = set(_list_codings(path))
        return Coding(is_lossless=kinds == {b"VP8L"})

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the quality; `exact` keeps the colours under transparent pixels of a lossless file."""
        options = super().encoding_options(frame, encoding, suffix)
        return options | {"lossless": True, "exact": True} if encoding.lossless else options

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return durations and the number of plays."""
        return super().timing_options(timing) | {"loop": timing.plays}


def _list_codings(path: Path) -> Iterator[bytes]:
    """Yield `VP8L` for each lossless frame and `VP8 ` for each lossy one (RFC 9649, 2.7)."""
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", head)
            if kind == b"ANMF":
                file.seek(16, os.SEEK_CUR)  # the chunks of the frame follow the header of it
                continue
            if kind in (b"VP8 ", b"VP8L"):
                yield kind
            file.seek(length + length % 2, os.SEEK_CUR)


CODEC = WebPCodec(
    name="WEBP",
    suffixes=(".webp",),
    channels=(3, 4),
    frame_kind="animation",
    metadata_kinds=("icc", "exif", "xmp"),
    default_quality=95,
    has_lossless=True,
    largest_side=16383,
    plugin="WebPImagePlugin",
)
