"""GIF, animated or not: palettes, and pixels that are there or not."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.errors import ImageError
from srcli.imaging.codecs.base import Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_EXTENSION, _IMAGE = 0x21, 0x2C  # the first byte of a block
_TICK = 10  # durations count in hundredths of a second


def scan_blocks(data: bytes) -> tuple[int, int, int]:
    """Return width and height of the canvas, which frames may enlarge, and the number of frames.

    Nothing is decoded; a damaged file is counted up to the damage. Source: GIF89a specification, appendix A.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, frames = 13 + _measure_palette(flags), 0
    while position + 10 <= len(data) and data[position] in (_EXTENSION, _IMAGE):
        if data[position] == _IMAGE:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, position + 1)
            width, height, frames = max(width, left + across), max(height, top + down), frames + 1
            position += 11 + _measure_palette(flags)
        else:
            position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return width, height, frames


def _measure_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


class GifCodec(PillowCodec):
    """GIF through Pillow."""

    def check_total(self, path: Path, max_pixels: int) -> None:
        """Raise `ImageError` for too many pixels in all frames, which each cover the whole canvas."""
        width, height, frames = scan_blocks(path.read_bytes())
        if width * height * frames > max_pixels:
            shown = f"{frames:,} frames of {width}x{height}"
            message = f"{path} claims to have {shown} pixels, more than the {max_pixels:,} allowed"
            raise ImageError(message, "raise --max-pixels if that is right")

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

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return durations in whole ticks, and the number of repeats unless it plays once."""
        options: dict[str, Any] = {"disposal": 2}
        if timing.durations:
            options["duration"] = [max(_TICK, round(value / _TICK) * _TICK) for value in timing.durations]
        return options if timing.plays == 1 else options | {"loop": max(timing.plays - 1, 0)}


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
)
