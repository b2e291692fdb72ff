"""Metadata of an image, and how it changes with the size of the image."""

from dataclasses import replace

from srcli.dataclass import dataclass
from srcli.imaging.metadata import exif as exif_block
from srcli.imaging.metadata.xmp import scale_xmp

Size = tuple[int, int]
# Name and content of a chunk of a PNG.
Chunk = tuple[bytes, bytes]
# ITU-T H.273: BT.709 or not specified; BT.709, not specified, BT.601, sRGB and the 8 bits of BT.2020. Viewers
# show all of these as sRGB.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13, 14)
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image: `dpi` is (horizontal, vertical), `chunks` are those of a PNG.

    `cicp` is the content of the PNG chunk of that name: primaries, transfer function, matrix and range as in
    ITU-T H.273, matrix 0 and range 1 for RGB.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    chunks: tuple[Chunk, ...] = ()
    cicp: bytes | None = None


def make_cicp(primaries: int, transfer: int) -> bytes | None:
    r"""Return the content of cICP for colours of these code points; None for those of sRGB or not specified.

    >>> make_cicp(9, 16), make_cicp(1, 13)
    (b'\t\x10\x00\x01', None)
    """
    if primaries > 255 or transfer > 255 or (primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS):
        return None
    return bytes([primaries, transfer, 0, 1])


def scale_metadata(metadata: Metadata, old: Size, new: Size) -> Metadata:
    """Adapt metadata of an upright image of `old` (width, height) to one of `new`.

    The size on paper stays, orientation is reset, and the thumbnail is dropped.
    """
    exif, xmp, dpi = metadata.exif, metadata.xmp, metadata.dpi
    return replace(
        metadata,
        exif=exif_block.scale_exif(exif, old, new) if exif else None,
        xmp=scale_xmp(xmp, new) if xmp else None,
        dpi=(dpi[0] * new[0] / old[0], dpi[1] * new[1] / old[1]) if dpi else None,
    )


def strip_metadata(metadata: Metadata) -> Metadata:
    """Return only what decides how the image looks."""
    colour = tuple(chunk for chunk in metadata.chunks if chunk[0] not in TEXT_CHUNKS)
    return Metadata(icc=metadata.icc, chunks=colour, cicp=metadata.cicp)
