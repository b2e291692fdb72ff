"""The image formats: which suffixes they have, and what their files can hold. Facts only."""

from pathlib import Path
from typing import Protocol

from srcli.errors import ImageError
from srcli.imaging.codecs.base import Codec

CODECS = (
    Codec(
        "PNG",
        (".png", ".apng"),
        (1, 8, 16),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp", "dpi", "chunks"),
    ),
    Codec(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        carries=("icc", "exif", "xmp", "dpi", "comment"),
        lossy=95,
        subsampling=True,
        largest=65500,
    ),
    Codec(
        "WEBP",
        (".webp",),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp"),
        lossy=95,
        lossless=True,
        largest=16383,
    ),
    Codec(
        "TIFF",
        (".tif", ".tiff"),
        (1, 8, 16, 32),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp", "dpi"),
    ),
    Codec("BMP", (".bmp",), (1, 8), carries=("dpi",)),
    Codec("GIF", (".gif",), alpha=True, frames=True, carries=("comment",), largest=65535),
    Codec(
        "AVIF",
        (".avif",),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp"),
        lossy=90,
        subsampling=True,
        largest=32768,
    ),
    Codec("JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf"), (8, 16), alpha=True, carries=("comment",)),
    Codec("PPM", (".ppm", ".pgm", ".pnm"), (8, 16)),
    Codec("PFM", (".pfm",), (32,)),
    Codec("HDR", (".hdr",), (32,)),
    Codec("EXR", (".exr",), (32,), alpha=True, extra="exr", needs="OpenEXR"),
    Codec(
        "HEIF",
        (".heic", ".heif"),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp"),
        lossy=90,
        lossless=True,
        subsampling=True,
        extra="heif",
        needs="pillow_heif",
    ),
)
_BY_SUFFIX = {suffix: format_ for format_ in CODECS for suffix in format_.suffixes}
SUFFIXES = tuple(_BY_SUFFIX)


class NamedPath(Protocol):
    """A path, here or in a store."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""


def is_image(path: NamedPath) -> bool:
    """Whether the name looks like an image that can be read."""
    return path.suffix.lower() in _BY_SUFFIX and not path.name.startswith(".")


def find_codec(path: NamedPath) -> Codec:
    """The format that the name of `path` stands for. Raises `ImageError` for names of no known format."""
    found = _BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise ImageError(f"cannot write '{path.suffix}' files", f"writable: {' '.join(SUFFIXES)}")
    return found


def find_suffix(name: str) -> str:
    """The suffix for a format as a user names it, `jpeg` or `.TIF`. Raises `ImageError` for others."""
    suffix = f".{name.lower().removeprefix('.')}"
    named = next((f.suffixes[0] for f in CODECS if name.upper() == f.name), suffix)
    find_codec(Path(f"x{named}"))
    return named
