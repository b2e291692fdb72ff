"""WebP, lossy and lossless, animated or not."""

from typing import Any

from srcli.imaging.codecs.base import EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.pillow import PillowCodec


class WebPCodec(PillowCodec):
    """WebP through Pillow."""

    def sniff(self, head: bytes) -> bool:
        """Recognise a RIFF file of WebP data."""
        return head[:4] == b"RIFF" and head[8:12] == b"WEBP"

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the quality; `exact` keeps the colours under transparent pixels of a lossless file."""
        options = super().encoding_options(frame, encoding, suffix)
        return options | {"lossless": True, "exact": True} if encoding.lossless else options

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return durations and the number of plays."""
        return super().timing_options(timing) | {"loop": timing.plays}


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
