"""JPEG 2000, as a bare code stream (.j2k) or boxed: 8 bits through Pillow, 16 through OpenCV."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import EncodingOptions, Frame, read_head
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_STREAM = b"\xff\x4f\xff\x51"


class Jpeg2000Codec(PillowCodec):
    """JPEG 2000."""

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Read the bits of the first component from the SIZ marker (ITU-T T.800, A.5.1)."""
        head = read_head(path, 65536)
        at = head.find(_STREAM)
        return (head[at + 42] & 127) + 1 if 0 <= at < len(head) - 42 else 8

    def encode_16bit(self, samples: StoredSamples) -> bytes:
        """Encode losslessly, grey with alpha as RGBA, since OpenCV has no such grey."""
        if samples.ndim == 3 and samples.shape[2] == 2:
            samples = samples[..., [0, 0, 0, 1]]
        return opencv.encode(samples, ".jp2")

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the container, and for a lossy file the quality as a PSNR of 20 to 60 dB."""
        options: dict[str, Any] = {"no_jp2": suffix == ".j2k"}
        if not encoding.quality or encoding.lossless:
            return options
        decibels = 20 + encoding.quality * 0.4
        return options | {"irreversible": True, "quality_mode": "dB", "quality_layers": [decibels]}


CODEC = Jpeg2000Codec(
    name="JPEG2000",
    suffixes=(".jp2", ".j2k", ".jpx", ".jpf"),
    signatures=(_STREAM, b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a"),
    depths=(8, 16),
    channels=(1, 2, 3, 4),
    metadata_kinds=("comment",),
    has_lossy=True,
    plugin="Jpeg2KImagePlugin",
)
