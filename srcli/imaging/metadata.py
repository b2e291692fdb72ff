"""What a file says beside its pixels, and how that changes with their number."""

import re
from dataclasses import dataclass, replace

from srcli.imaging import exif as exif_block
from srcli.imaging import png

Size = tuple[int, int]


@dataclass(frozen=True)
class Metadata:
    """Everything optional: `dpi` horizontal and vertical, `chunks` those of a PNG that are kept as they are."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    chunks: tuple[png.Chunk, ...] = ()


def enlarged(metadata: Metadata, old: Size, new: Size) -> Metadata:
    """For an image of `new` (width, height) made of an upright one of `old`.

    The size on paper stays; orientation is reset; the thumbnail is dropped.
    """
    exif, xmp, dpi = metadata.exif, metadata.xmp, metadata.dpi
    return replace(
        metadata,
        exif=exif_block.enlarged(exif, old, new) if exif else None,
        xmp=_enlarged_xmp(xmp, new) if xmp else None,
        dpi=(dpi[0] * new[0] / old[0], dpi[1] * new[1] / old[1]) if dpi else None,
    )


def stripped(metadata: Metadata) -> Metadata:
    """Only what decides how the picture looks."""
    colour = tuple(chunk for chunk in metadata.chunks if not png.is_text(chunk))
    return Metadata(icc=metadata.icc, chunks=colour)


_XMP_VALUES = {
    b"tiff:Orientation": lambda size: 1,
    b"tiff:ImageWidth": lambda size: size[0],
    b"tiff:ImageLength": lambda size: size[1],
    b"exif:PixelXDimension": lambda size: size[0],
    b"exif:PixelYDimension": lambda size: size[1],
}


def _enlarged_xmp(xmp: bytes, size: Size) -> bytes:
    """Values that depend on the size replaced, whether they are attributes or elements."""
    for name, value in _XMP_VALUES.items():
        pattern = rb"(%s\s*=\s*[\"']|<%s>)\s*\d+\s*" % (name, name)
        xmp = re.sub(pattern, lambda found, new=value(size): found[1] + b"%d" % new, xmp)
    return re.sub(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", b"", xmp, flags=re.DOTALL)
