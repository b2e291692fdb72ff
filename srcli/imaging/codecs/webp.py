"""WebP, lossy and lossless, animated or not."""

import struct
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.imaging.codecs.base import Coding, EncodingOptions, Extent, Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_FILE_HEAD, _CHUNK_HEAD, _FRAME_HEAD = 12, 8, 16


class WebPCodec(PillowCodec):
    """WebP through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Recognise a RIFF file of WebP data."""
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"

    def read_coding(self, path: Path) -> Coding:
        """Read whether all frames are lossless."""
        kinds = set(_list_codings(path))
        return Coding(is_lossless=kinds == {b"VP8L"})

    def measure(self, path: Path) -> Extent | None:
        """Count the frames; each covers the whole canvas. None for a file without animation."""
        chunks = list(_list_chunks(path))
        frames = sum(kind == b"ANMF" for kind, _ in chunks)
        canvas = next((content for kind, content in chunks if kind == b"VP8X" and len(content) >= 10), None)
        if not frames or canvas is None:
            return None
        width, height = (int.from_bytes(canvas[at : at + 3], "little") + 1 for at in (4, 7))
        return Extent.of_canvas((width, height), frames)

    def read_durations(self, file: "PilImage", path: Path, count: int) -> Iterator[float]:
        """Yield the durations in the headers of the frames."""
        for kind, content in _list_chunks(path):
            if kind == b"ANMF" and len(content) >= _FRAME_HEAD:
                yield float(int.from_bytes(content[12:15], "little"))

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the quality; `exact` keeps the colours under transparent pixels of a lossless file."""
        options = super().encoding_options(frame, encoding, suffix)
        return options | {"lossless": True, "exact": True} if encoding.lossless else options

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return durations and the number of plays."""
        return super().timing_options(timing) | {"loop": timing.plays}


def _list_codings(path: Path) -> Iterator[bytes]:
    """Yield `VP8L` for each lossless frame and `VP8 ` for each lossy one."""
    return (kind for kind, _ in _list_chunks(path) if kind in (b"VP8 ", b"VP8L"))


def _list_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the first bytes of each chunk, those within frames too (RFC 9649, 2.3 to 2.7)."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        at = _FILE_HEAD
        while at + _CHUNK_HEAD <= len(data):
            kind, length = struct.unpack_from("<4sI", data, at)
            at += _CHUNK_HEAD
            yield kind, data[at : min(at + length, at + _FRAME_HEAD)]
            # The chunks of a frame follow its header.
            at += _FRAME_HEAD if kind == b"ANMF" else length + length % 2


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
