"""The codecs, in the order in which they are tried: by content for reading, by suffix for writing."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, overload

from srcli.errors import ImageError, UsageError
from srcli.imaging.codecs.base import Codec


class _Listing(NamedTuple):
    """A codec and what it says of itself, so that its module is imported only for files of its format."""

    module: str
    name: str
    suffixes: str = ""
    read_suffixes: str = ""
    constant: str = "CODEC"


# What is not listed is never opened, so nobody's PostScript, PSD, FITS or HDF5 is run through a decoder.
_LISTINGS = (
    _Listing("png", "PNG", ".png .apng"),
    _Listing("jpeg", "JPEG", ".jpg .jpeg .jpe .jfif", ".mpo"),
    _Listing("webp", "WEBP", ".webp"),
    _Listing(  # before TIFF, which is the container of many
        "raw",
        "RAW",
        "",
        ".dng .cr2 .cr3 .nef .nrw .arw .sr2 .raf .orf .rw2 .pef .srw .x3f .3fr .iiq .erf .kdc .mrw .rwl",
    ),
    _Listing("tiff", "TIFF", ".tif .tiff"),
    _Listing("bmp", "BMP", ".bmp"),
    _Listing("gif", "GIF", ".gif"),
    _Listing("avif", "AVIF", ".avif"),
    _Listing("jpeg2000", "JPEG2000", ".jp2 .jpx .jpf"),
    _Listing("jpeg2000", "J2K", ".j2k", ".j2c .jpc", "STREAM"),
    _Listing("jpegxl", "JXL", "", ".jxl"),
    _Listing("pnm", "PPM", ".ppm .pgm .pnm", ".pam"),
    _Listing("pnm", "PBM", ".pbm", "", "BITMAP"),
    _Listing("pfm", "PFM", ".pfm"),
    _Listing("hdr", "HDR", ".hdr"),
    _Listing("exr", "EXR", ".exr"),
    _Listing("heif", "HEIF", ".heic .heif"),
    _Listing("dds", "DDS", "", ".dds"),
    _Listing("icns", "ICNS", "", ".icns"),
    _Listing("ico", "ICO", "", ".ico"),
    _Listing("pcx", "PCX", "", ".pcx"),
    _Listing("qoi", "QOI", "", ".qoi"),
    _Listing("sgi", "SGI", "", ".sgi .rgb .rgba .bw"),
    _Listing("sun", "SUN", "", ".ras"),
    _Listing("tga", "TGA", "", ".tga"),
)


class _Codecs(Sequence[Codec]):
    """All codecs, each of which is imported when it is first asked for."""

    def __len__(self) -> int:
        return len(_LISTINGS)

    @overload
    def __getitem__(self, index: int) -> Codec: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Codec]: ...

    def __getitem__(self, index: int | slice) -> Codec | Sequence[Codec]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return _import_codec(_LISTINGS[index])


@cache
def _import_codec(listing: _Listing) -> Codec:
    codec: Codec = getattr(import_module(f"srcli.imaging.codecs.{listing.module}"), listing.constant)
    return codec


CODECS: Sequence[Codec] = _Codecs()
_BY_SUFFIX = {suffix: listing for listing in _LISTINGS for suffix in listing.suffixes.split()}
# The suffixes of files that can be written, and of those that can be read.
SUFFIXES = tuple(_BY_SUFFIX)
READABLE_SUFFIXES = SUFFIXES + tuple(
    suffix for listing in _LISTINGS for suffix in listing.read_suffixes.split()
)
_READABLE = frozenset(READABLE_SUFFIXES)
READABLE_HINT = f"readable: {', '.join(listing.name for listing in _LISTINGS)}"


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
    listing = _BY_SUFFIX.get(path.suffix.lower())
    if listing is None:
        reason = f"cannot write '{path.suffix}' files" if path.suffix else f"{path.name} names no format"
        raise ImageError(reason, f"writable: {' '.join(SUFFIXES)}")
    return _import_codec(listing)


def find_suffix(name: str) -> str:
    """Return the suffix for a format as a user names it, `jpeg` or `.TIF`. Raises `UsageError` for others."""
    suffix = f".{name.lower().removeprefix('.')}"
    by_name = {listing.name: listing.suffixes.split()[0] for listing in _LISTINGS if listing.suffixes}
    suffix = by_name.get(name.upper(), suffix)
    try:
        find_codec(Path(f"x{suffix}"))
    except ImageError as error:
        raise UsageError(error.message, error.hint) from None
    return suffix
