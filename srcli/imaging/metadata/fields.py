"""Metadata of an image, and how it changes with the size of the image."""

import re
from dataclasses import dataclass, replace

from srcli.imaging.metadata import exif as exif_block

Size = tuple[int, int]
# Name and content of a chunk of a PNG.
Chunk = tuple[bytes, bytes]
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image: `dpi` is (horizontal, vertical), `chunks` are those of a PNG."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    chunks: tuple[Chunk, ...] = ()


def scale_metadata(metadata: Metadata, old: Size, new: Size) -> Metadata:
    """Adapt metadata of an upright image of `old` (width, height) to one of `new`.

    The size on paper stays, orientation is reset, and the thumbnail is dropped.
    """
    exif, xmp, dpi = metadata.exif, metadata.xmp, metadata.dpi
    return replace(
        metadata,
        exif=exif_block.scale_exif(exif, old, new) if exif else None,
        xmp=_scale_xmp(xmp, new) if xmp else None,
        dpi=(dpi[0] * new[0] / old[0], dpi[1] * new[1] / old[1]) if dpi else None,
    )


def strip_metadata(metadata: Metadata) -> Metadata:
    """Return only what decides how the image looks."""
    colour = tuple(chunk for chunk in metadata.chunks if chunk[0] not in TEXT_CHUNKS)
    return Metadata(icc=metadata.icc, chunks=colour)


def _scale_xmp(xmp: bytes, size: Size) -> bytes:
    """Replace values that depend on the size, in attributes and in elements."""
    width, height = size
    values = {
        b"tiff:Orientation": 1,
        b"tiff:ImageWidth": width,
        b"tiff:ImageLength": height,
        b"exif:PixelXDimension": width,
        b"exif:PixelYDimension": height,
    }
    for name, value in values.items():
        pattern = rb"(%s\s*=\s*[\"']|<%s>)\s*\d+\s*" % (name, name)
        xmp = re.sub(pattern, rb"\g<1>%d" % value, xmp)
    return re.sub(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", b"", xmp, flags=re.DOTALL)
