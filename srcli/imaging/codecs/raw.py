"""Camera raw (DNG, CR2, CR3, NEF, ARW and others), developed by LibRaw through rawpy; read, not written.

Developed with the white balance of the camera to 16 bits of sRGB, without brightening, so that pictures of a
series stay alike and no highlight is cut off.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from srcli.imaging.codecs.base import (
    Codec,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_pixel_count,
)
from srcli.imaging.codecs.pillow import open_image
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata, scale_metadata

_SIGNATURES = (
    b"FUJIFILMCCD-RAW",  # RAF
    b"IIRO", b"IIRS", b"MMOR",  # ORF
    b"IIU\x00",  # RW2
    b"FOVb",  # X3F
)  # fmt: skip
_SUBFILE_TYPE, _MAKE, _SUBIFDS, _DNG_VERSION = 0x00FE, 0x010F, 0x014A, 0xC612
_REDUCED = 1  # the value of NewSubfileType for a small copy of another image in the file
# LibRaw's `flip` for pictures that are turned by a quarter.
_QUARTERS = (5, 6)
_SRGB_CURVE = (2.4, 12.92)


class RawCodec(Codec):
    """Camera raw through rawpy."""

    def sniff(self, head: bytes) -> bool:
        """Recognise the signatures of makers, and TIFF files whose first image is a preview of a raw one."""
        if head.startswith(_SIGNATURES) or head[4:12] == b"ftypcrx ":
            return True
        if head[:4] not in (b"II*\x00", b"MM\x00*"):
            return False
        if head[8:10] == b"CR":
            return True
        tags = _read_first_directory(head)
        return _DNG_VERSION in tags or (
            tags.get(_SUBFILE_TYPE) == _REDUCED and _MAKE in tags and _SUBIFDS in tags
        )

    def describe(self, path: Path) -> ImageInfo:
        """Read the size and the EXIF block; nothing is developed."""
        with _open(path) as raw:
            return ImageInfo(self.name, _find_size(raw), "RGB", 16, _read_metadata(raw))

    def read_timing(self, path: Path) -> FrameTiming:
        """Return the timing of a single image."""
        return FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Develop the picture, upright."""
        with _open(path) as raw:
            size = _find_size(raw)
            check_pixel_count(path, size, max_pixels)
            metadata = _read_metadata(raw)
            samples = raw.postprocess(
                use_camera_wb=True, output_bps=16, no_auto_bright=True, gamma=_SRGB_CURVE
            )
        yield Frame(samples, 16, metadata)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file with LibRaw. Raises `ValueError` for a damaged one, `UnsupportedImageError` for others."""
    import rawpy

    try:
        with rawpy.imread(str(path)) as raw:
            yield raw
    except (rawpy.LibRawFileUnsupportedError, rawpy.NotSupportedError) as error:
        hint = "convert it with Adobe DNG Converter, or develop it with darktable or RawTherapee"
        raise UnsupportedImageError("LibRaw does not know this kind of raw file", hint) from error
    except rawpy.LibRawError as error:
        raise ValueError(f"LibRaw reports: {_decode(error)}") from error


def _decode(error: Exception) -> str:
    reason = error.args[0] if error.args else type(error).__name__
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def _find_size(raw: Any) -> tuple[int, int]:
    """Return (width, height) of the developed picture, upright."""
    sizes = raw.sizes
    size = (sizes.iwidth, sizes.iheight)
    return size[::-1] if sizes.flip in _QUARTERS else size


def _read_metadata(raw: Any) -> Metadata:
    """Return the EXIF block of the JPEG preview, which cameras write, without its orientation and sizes."""
    import rawpy

    try:
        preview = raw.extract_thumb()
        if preview.format != rawpy.ThumbFormat.JPEG:
            return Metadata()
        with open_image(io.BytesIO(preview.data), ("JPEG",)) as file:
            block = file.info.get("exif")
            size = _find_size(raw)
            metadata = Metadata(exif=exif.strip_prefix(block) or None if block else None)
            return replace(scale_metadata(metadata, size, size), dpi=None)
    except (rawpy.LibRawError, OSError, SyntaxError, ValueError):
        return Metadata()


def _read_first_directory(head: bytes) -> dict[int, int]:
    """Return the tags of the first directory of a TIFF with their first values, as far as `head` has them."""
    order = "<" if head[:2] == b"II" else ">"
    tags: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", head, 4)
        (count,) = struct.unpack_from(f"{order}H", head, at)
        for k in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", head, at + 2 + 12 * k)
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", head, at + 10 + 12 * k)
            tags[tag] = value
    except struct.error:
        pass  # it lies further back, as no camera writes it, or the file is cut off
    return tags


CODEC = RawCodec(
    name="RAW",
    read_suffixes=(
        ".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw",
        ".x3f", ".3fr", ".iiq", ".erf", ".kdc", ".mrw", ".rwl",
    ),
    extra="raw",
    package="rawpy",
    read_depths=(16,),
    read_channels=(3,),
)  # fmt: skip
