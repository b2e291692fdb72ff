"""JPEG, and the first picture of an MPO; 12 bits, and files without loss, through imagecodecs.

Source: ITU-T T.81, annex B; ITU-T T.87 (JPEG-LS).
"""

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging import mmap_buffer
from srcli.imaging.codecs.base import (
    MAX_DECODED_BYTES,
    SUBSAMPLING,
    BandedImage,
    Coding,
    EncodingOptions,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_pixel_count,
    find_middle,
    stretch_to_16bit,
)
from srcli.imaging.codecs.orientation import turn_upright
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# Larger files are looked at by their luma alone.
_LARGE = 2**24
_MARKER_BYTES = 65000  # a segment holds little more
# The luma quantisation table for quality 50 (ITU-T T.81, table K.1).
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_STARTS_OF_FRAME = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}
_APP1 = 0xE1
_END = b"\xff\xd9"
_END = b"\xff\xd9"


@dataclass(frozen=True)
class Header:
    """The start of a frame, `at` this place, and the EXIF block that came before it."""

    kind: int
    bits: int
    size: tuple[int, int]
    channels: int
    metadata: Metadata
    at: int

    @property
    def is_plain(self) -> bool:
        """True if Pillow decodes it."""
        return self.bits == 8 and self.kind != _JPEG_LS

    @property
    def depth(self) -> int:
        """The bits of a frame."""
        return 8 if self.bits <= 8 else 16


class JpegCodec(PillowCodec):
    """JPEG through Pillow."""

    def describe(self, path: Path) -> ImageInfo:
        """Read the headers and the metadata."""
        header = parse_header(path)
        if header is None or header.is_plain:
            return super().describe(path)
        mode = "L" if header.channels == 1 else "RGB"
        return ImageInfo(self.name, header.size, mode, header.depth, header.metadata)

    def read_timing(self, path: Path) -> FrameTiming:
        """Return the timing of a single image."""
        return FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the picture, turned upright."""
        header = parse_header(path)
        if header is None or header.is_plain:
            yield from super().read_frames(path, max_pixels)
            return
        check_pixel_count(path, header.size, max_pixels)
        samples = stretch_to_16bit(_decode_with_imagecodecs(path, header), header.bits)
        if header.depth == 8:
            samples = (samples // 257).astype(np.uint8)
        orientation = exif.read_orientation(header.metadata.exif) if header.metadata.exif else 1
        yield turn_upright(Frame(samples, header.depth, header.metadata), orientation)

    def read_middle(self, path: Path, side: int, max_pixels: int) -> StoredSamples | None:
        """Decode the luma of a large file alone; the noise and the detail of a photograph are in it."""
        header = parse_header(path)
        if header is None or not header.is_plain:
            return super().read_middle(path, side, max_pixels)
        with self.open(path) as file:
            check_pixel_count(path, file.size, max_pixels)
            # A progressive file is held as coefficients until its last scan is read.
            pixel_bytes = 8 if file.info.get("progressive") else 1
            is_large = file.width * file.height >= _LARGE
            if not is_large or file.mode not in ("L", "RGB"):
                return super().read_middle(path, side, max_pixels)
            if file.width * file.height * pixel_bytes > MAX_DECODED_BYTES:
                return None
            file.draft("L", file.size)
            rows, columns = find_middle(file.size, side)
            return np.array(file.crop((columns.start, rows.start, columns.stop, rows.stop)))

    def salvage_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode what there is before the file ends; the rest is grey. A sound file is read as ever."""
        try:
            yield from list(self.read_frames(path, max_pixels))
        except OSError:
            header = parse_header(path)
            if header and not header.is_plain:
                raise
            with tempfile.TemporaryDirectory(prefix="sr-") as folder:
                ended = Path(folder, "ended.jpg")
                ended.write_bytes(path.read_bytes() + _END)
                note = self._describe_salvage(ended)
                for frame in self.read_frames(ended, max_pixels):
                    yield replace(frame, notes=(*frame.notes, note))

    def _describe_salvage(self, path: Path) -> str:
        with self.open(path) as file:
            samples, is_progressive = np.asarray(file), bool(file.info.get("progressive"))
        # Where the data end, libjpeg leaves all coefficients at zero.
        distance = np.abs(samples.reshape(len(samples), -1).astype(np.int16) - 128)
        is_missing = distance.max(axis=1) <= 1
        rows = len(samples) - int(np.argmin(is_missing[::-1])) if not is_missing.all() else 0
        details = ", without the last details" if is_progressive else ""
        return f"salvaged: {100 * rows // len(samples)} % of the rows{details}"

    def estimate_quality(self, file: "PilImage") -> int | None:
        """Return the quality 1..100 whose luma table, scaled as in libjpeg, comes nearest."""
        tables: dict[int, list[int]] = getattr(file, "quantization", {})
        if not tables:
            return None
        total = sum(tables[min(tables)])
        return min(range(1, 101), key=lambda quality: abs(_sum_luma_table(quality) - total))

    def read_coding(self, path: Path) -> Coding:
        """Read the quality and the subsampling of a JPEG that Pillow decodes."""
        from PIL.JpegImagePlugin import get_sampling

        header = parse_header(path)
        if header and not header.is_plain:
            return Coding(is_lossless=header.kind in (_LOSSLESS, _JPEG_LS))
        with self.open(path) as file:
            return Coding(self.estimate_quality(file), dict(enumerate(SUBSAMPLING)).get(get_sampling(file)))

    def list_lost_metadata(self, metadata: Metadata) -> tuple[str, ...]:
        """Return what JPEG has no place for, and blocks that are too large for a segment."""
        large = [kind for kind in ("exif", "xmp") if len(getattr(metadata, kind) or b"") > _MARKER_BYTES]
        return (*super().list_lost_metadata(metadata), *large)

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


def parse_header(path: Path) -> Header | None:
    """Read the markers up to the start of the frame, or return None if the file has no frame."""
    with path.open("rb") as file:
        file.seek(2)
        metadata = Metadata()
        while True:
            start = file.read(4)
            if len(start) < 4 or start[0] != 0xFF:
                return None
            if start[1] == 0xFF:  # a fill byte
                file.seek(-3, 1)
                continue
            content = file.read(max(struct.unpack(">H", start[2:])[0] - 2, 0))
            if start[1] in _STARTS_OF_FRAME and len(content) >= 6:
                bits, height, width, channels = struct.unpack_from(">BHHB", content)
                return Header(start[1], bits, (width, height), channels, metadata, file.tell())
            if start[1] == _APP1 and content.startswith(b"Exif\0\0"):
                metadata = Metadata(exif=exif.strip_prefix(content))


def _decode_with_imagecodecs(path: Path, header: Header) -> StoredSamples:
    """Decode (H, W) or (H, W, 3) of 2 to 16 bits, as stored."""
    kind = {_LOSSLESS: "lossless JPEG", _JPEG_LS: "JPEG-LS"}.get(header.kind, "JPEG")
    name = f"{kind} of {header.bits} bits"
    if find_spec("imagecodecs") is None:
        raise UnsupportedImageError(f"{name} needs imagecodecs", "pip install 'sr-cli[codecs]'")
    import imagecodecs

    data = path.read_bytes()
    if data.find(_END, header.at) < 0:
        raise ValueError("the file ends within its samples")
    try:
        decode = imagecodecs.jpegls_decode if header.kind == _JPEG_LS else imagecodecs.jpeg_decode
        samples = np.asarray(decode(data))
    except ImportError as error:
        raise UnsupportedImageError(f"imagecodecs cannot decode {name}", "convert it to PNG") from error
    if samples.shape[1::-1] != header.size or samples.shape[2:] not in ((), (3,)):
        raise UnsupportedImageError(f"it is {name} with {header.channels} channels", "convert it to PNG")
    return samples


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
    can_salvage=True,
    plugin="JpegImagePlugin",
    read_depths=(12, 16),
)
