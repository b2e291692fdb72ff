"""JPEG, and the first picture of an MPO."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from srcli.imaging import mmap_buffer
from srcli.imaging.codecs.base import BandedImage, EncodingOptions, Frame
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.metadata.fields import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_MARKER_BYTES = 65000  # a segment holds little more
# The luma quantisation table for quality 50 (ITU-T T.81, table K.1).
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


class JpegCodec(PillowCodec):
    """JPEG through Pillow."""

    def estimate_quality(self, file: "PilImage") -> int | None:
        """Return the quality 1..100 whose luma table, scaled as in libjpeg, comes nearest."""
        tables: dict[int, list[int]] = getattr(file, "quantization", {})
        if not tables:
            return None
        total = sum(tables[min(tables)])
        return min(range(1, 101), key=lambda quality: abs(_sum_luma_table(quality) - total))

    def metadata_options(self, metadata: Metadata) -> dict[str, Any]:
        """Return the metadata without an EXIF or XMP block that is too large for a segment."""
        options = super().metadata_options(metadata)
        return {
            name: value
            for name, value in options.items()
            if name not in ("exif", "xmp") or len(value) <= _MARKER_BYTES
        }

    def write_rows(self, file: BinaryIO, image: BandedImage, encoding: EncodingOptions) -> None:
        """Encode from a mapped file on disk: the encoder wants all samples, four bytes per colour pixel."""
        from PIL import Image
        from PIL.JpegImagePlugin import RAWMODE

        height, width = image.shape[:2]
        is_grey = len(image.shape) == 2
        shape = (height, width) if is_grey else (height, width, 4)
        with mmap_buffer.open_on_disk(shape, Path(file.name).parent) as buffer:
            samples = buffer.samples if is_grey else buffer.samples[..., :3]
            top = 0
            for band in image.bands:
                samples[top : top + len(band)] = band
                top += len(band)
                buffer.drop_pages()
            mode = "L" if is_grey else "RGBX"
            picture = Image.frombuffer(mode, (width, height), buffer.samples, "raw", mode, 0, 1)
            line = Frame(buffer.samples[:1], 8)
            options = self.metadata_options(image.metadata) | self.encoding_options(line, encoding, "")
            RAWMODE.setdefault("RGBX", "RGB")  # the encoder knows these bytes by that name only
            target = mmap_buffer.PageDroppingFile(file, buffer)
            picture.save(target, "JPEG", **options)  # type: ignore[arg-type]


def _sum_luma_table(quality: int) -> int:
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (value * percent + 50) // 100)) for value in _LUMA_TABLE)


CODEC = JpegCodec(
    name="JPEG",
    suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
    read_suffixes=(".mpo",),
    signatures=(b"\xff\xd8\xff",),
    metadata_kinds=("icc", "exif", "xmp", "dpi", "comment"),
    default_quality=95,
    default_subsampling="4:4:4",
    largest_side=65500,
    streams=True,
    plugin="JpegImagePlugin",
)
