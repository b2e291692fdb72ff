"""GIF, animated or not: palettes, and pixels that are there or not; frames are written one by one.

Source: GIF89a specification, https://www.w3.org/Graphics/GIF/spec-gif89a.txt.
"""

import struct
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import EncodingOptions, Extent, Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B  # the first byte of a block
_CONTROL = 0xF9  # the label of an extension
_TICK = 10  # durations count in hundredths of a second
_MOST_TICKS = 65535
_SCREEN_BYTES = 13
_HAS_PALETTE = 0x80


@dataclass(frozen=True)
class Block:
    """A block after the screen descriptor: `kind` is its first byte, or the label of an extension."""

    kind: int
    start: int
    stop: int


def list_blocks(data: bytes | mmap) -> Iterator[Block]:
    """Yield the blocks of a file up to its end or to where it is damaged; nothing is decoded."""
    at = _SCREEN_BYTES + _measure_palette(data[10])
    while at + 10 <= len(data) and data[at] != _TRAILER:
        if data[at] not in (_EXTENSION, _IMAGE):
            at += 1  # as decoders do
            continue
        start, is_image = at, data[at] == _IMAGE
        at += 11 + _measure_palette(data[at + 9]) if is_image else 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        yield Block(_IMAGE if is_image else data[start + 1], start, at)


def _measure_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _HAS_PALETTE else 0


class GifCodec(PillowCodec):
    """GIF: Pillow decodes, and encodes frames that are put together here."""

    def measure(self, path: Path) -> Extent:
        """Count the frames; each covers the whole canvas, which frames outside of it enlarge."""
        frames = 0
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            width, height = struct.unpack_from("<HH", data, 6)
            for block in list_blocks(data):
                if block.kind == _IMAGE:
                    left, top, across, down = struct.unpack_from("<HHHH", data, block.start + 1)
                    width, height, frames = max(width, left + across), max(height, top + down), frames + 1
        return Extent.of_canvas((width, height), max(frames, 1))

    def read_durations(self, file: "PilImage", path: Path, count: int) -> Iterator[float]:
        """Yield the durations that the control blocks give; a frame without one has none."""
        ticks = 0
        with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
            for block in list_blocks(data):
                if block.kind == _CONTROL:
                    (ticks,) = struct.unpack_from("<H", data, block.start + 4)
                elif block.kind == _IMAGE:
                    yield float(ticks * _TICK)
                    ticks = 0

    def count_frames(self, file: "PilImage") -> int:
        """Count the blocks of frames, which takes Pillow much longer."""
        return self.measure(Path(getattr(file, "filename"))).frames  # noqa: B009 (not typed)

    def read_plays(self, file: "PilImage", path: Path) -> int:
        """Return one more than the stored number, which counts repeats; a file without it plays once."""
        repeats = file.info.get("loop")
        return 1 if repeats is None else repeats + 1 if repeats else 0

    def to_picture(self, frame: Frame) -> "PilImage":
        """Return a frame whose pixels are either opaque or transparent."""
        picture = super().to_picture(frame)
        if picture.mode not in ("LA", "RGBA"):
            return picture
        colour = picture.convert("RGBA")
        colour.putalpha(colour.getchannel("A").point(lambda value: 255 if value >= 128 else 0))
        return colour

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode frames one at a time, each with a palette of its own; equal ones in a row become one."""
        if timing.count == 1:
            super().write(file, frames, timing, encoding, suffix)
            return
        durations = timing.durations or (0,) * timing.count
        previous, total = b"", 0
        for frame, duration in zip(frames, durations, strict=True):
            ticks = max(1, round(duration / _TICK)) if timing.durations else 0
            data = self.encode_picture(self.to_picture(frame), {"disposal": 2})
            if not previous:
                file.write(_encode_head(data, timing.plays, frame.metadata.comment))
            elif data == previous:
                total += ticks
                continue
            else:
                file.write(_encode_frame(previous, total))
            previous, total = data, ticks
        file.write(_encode_frame(previous, total) + bytes([_TRAILER]))


def _encode_head(data: bytes, plays: int, comment: bytes | None) -> bytes:
    """Return the screen descriptor, without a palette, the number of repeats and the comment."""
    flags = data[10] & ~(_HAS_PALETTE | 7)
    head = b"GIF89a" + data[6:10] + bytes([flags, 0, 0])
    if plays != 1:
        head += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", max(plays - 1, 0), 0)
    if comment:
        parts = (comment[at : at + 255] for at in range(0, len(comment), 255))
        head += b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    return head


def _encode_frame(data: bytes, ticks: int) -> bytes:
    """Return the picture of a file of one frame, with the palette of the file, shown for so many ticks."""
    palette = data[_SCREEN_BYTES : _SCREEN_BYTES + _measure_palette(data[10])]
    blocks = {block.kind: data[block.start : block.stop] for block in list_blocks(data)}
    control, image = bytearray(blocks[_CONTROL]), blocks[_IMAGE]
    struct.pack_into("<H", control, 4, min(ticks, _MOST_TICKS))
    flags = image[9] & ~7 | data[10] & (_HAS_PALETTE | 7)
    return bytes(control) + image[:9] + bytes([flags]) + palette + image[10:]


CODEC = GifCodec(
    name="GIF",
    suffixes=(".gif",),
    signatures=(b"GIF87a", b"GIF89a"),
    channels=(1, 2, 3, 4),
    read_channels=(1, 3, 4),
    frame_kind="animation",
    metadata_kinds=("comment",),
    loss="256 colours, alpha on or off",
    largest_side=65535,
    plugin="GifImagePlugin",
    pixels_per_byte=64,  # of screencasts, most frames repeat most of the last
)
