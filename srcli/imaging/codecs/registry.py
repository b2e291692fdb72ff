"""The codecs, in the order in which they are tried: by content for reading, by suffix for writing."""

from pathlib import Path
from typing import Protocol

from srcli.errors import ImageError, UsageError
from srcli.imaging.codecs import (
    avif,
    bmp,
    dds,
    exr,
    gif,
    hdr,
    heif,
    icns,
    ico,
    jpeg,
    jpeg2000,
    jpegxl,
    pcx,
    pfm,
    png,
    pnm,
    qoi,
    raw,
    sgi,
    sun,
    tga,
    tiff,
    webp,
)
from srcli.imaging.codecs.base import Codec

# What is not listed is never opened, so nobody's PostScript, PSD, FITS or HDF5 is run through a decoder.
CODECS: tuple[Codec, ...] = (
    png.CODEC,
    jpeg.CODEC,
    webp.CODEC,
    raw.CODEC,  # before TIFF, which is the container of many
    tiff.CODEC,
    bmp.CODEC,
    gif.CODEC,
    avif.CODEC,
    jpeg2000.CODEC,
    jpeg2000.STREAM,
    jpegxl.CODEC,
    pnm.CODEC,
    pnm.BITMAP,
    pfm.CODEC,
    hdr.CODEC,
    exr.CODEC,
    heif.CODEC,
    dds.CODEC,
    icns.CODEC,
    ico.CODEC,
    pcx.CODEC,
    qoi.CODEC,
    sgi.CODEC,
    sun.CODEC,
    tga.CODEC,
)
_BY_SUFFIX = {suffix: codec for codec in CODECS for suffix in codec.suffixes}
# The suffixes of files that can be written, and of those that can be read.
SUFFIXES = tuple(_BY_SUFFIX)
READABLE_SUFFIXES = SUFFIXES + tuple(suffix for codec in CODECS for suffix in codec.read_suffixes)
_READABLE = frozenset(READABLE_SUFFIXES)
READABLE_HINT = f"readable: {', '.join(codec.name for codec in CODECS)}"


class NamedPath(Protocol):
    """A path, here or in a store."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""


def is_image(path: NamedPath) -> bool:
    """Tell by the name of a file whether it is an image that can be read; hidden ones do not count."""
    return is_image_name(path.name)


def is_image_name(name: str) -> bool:
    """Do what `is_image` does for the last part of a path, without a path: folders may be very large."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in _READABLE and not name.startswith(".")


def identify(head: bytes) -> Codec | None:
    """Return the codec of a file by its first bytes (`HEAD_BYTES` or all of it), or None if none knows it."""
    return next((codec for codec in CODECS if codec.sniff(head)), None)


def find_codec(path: NamedPath) -> Codec:
    """Return the codec that writes the suffix of `path`. Raises `ImageError` for an unknown suffix."""
    codec = _BY_SUFFIX.get(path.suffix.lower())
    if codec is None:
        raise ImageError(f"cannot write '{path.suffix}' files", f"writable: {' '.join(SUFFIXES)}")
    return codec


def find_suffix(name: str) -> str:
    """Return the suffix for a format as a user names it, `jpeg` or `.TIF`. Raises `UsageError` for others."""
    suffix = f".{name.lower().removeprefix('.')}"
    by_name = {codec.name: codec.suffixes[0] for codec in CODECS if codec.can_write}
    suffix = by_name.get(name.upper(), suffix)
    try:
        find_codec(Path(f"x{suffix}"))
    except ImageError as error:
        raise UsageError(error.message, error.hint) from None
    return suffix
