"""GIF, animated or not: palettes, and pixels that are there or not."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.imaging.codecs.base import Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_TICK = 10  # durations count in hundredths of a second


class GifCodec(PillowCodec):
    """GIF through Pillow."""

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
