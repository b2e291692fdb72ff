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
        has_alpha=True,
        has_frames=True,
        metadata_kinds=("icc", "exif", "xmp", "dpi", "chunks"),
    ),
    Codec(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        metadata_kinds=("icc", "exif", "xmp", "dpi", "comment"),
        default_quality=95,
        has_subsampling=True,
        largest_side=65500,
    ),
    Codec(
        "WEBP",
        (".webp",),
        has_alpha=True,
        has_frames=True,
        metadata_kinds=("icc", "exif", "xmp"),
        default_quality=95,
        has_lossless=True,
        largest_side=16383,
    ),
    Codec(
        "TIFF",
        (".tif", ".tiff"),
        (1, 8, 16, 32),
        has_alpha=True,
        has_frames=True,
        metadata_kinds=("icc", "exif", "xmp", "dpi"),
    ),
    Codec("BMP", (".bmp",), (1, 8), metadata_kinds=("dpi",)),
    Codec("GIF", (".gif",), has_alpha=True, has_frames=True, metadata_kinds=("comment",), largest_side=65535),
    Codec(
        "AVIF",
        (".avif",),
        has_alpha=True,
        has_frames=True,
        metadata_kinds=("icc", "exif", "xmp"),
        default_quality=90,
        has_subsampling=True,
        largest_side=32768,
    ),
    Codec("JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf"), (8, 16), has_alpha=True, metadata_kinds=("comment",)),
    Codec("PPM", (".ppm", ".pgm", ".pnm"), (8, 16)),
    Codec("PFM", (".pfm",), (32,)),
    Codec("HDR", (".hdr",), (32,)),
    Codec("EXR", (".exr",), (32,), has_alpha=True, extra="exr", package="OpenEXR"),
    Codec(
        "HEIF",
        (".heic", ".heif"),
        has_alpha=True,
        has_frames=True,
        metadata_kinds=("icc", "exif", "xmp"),
        default_quality=90,
        has_lossless=True,
        has_subsampling=True,
        extra="heif",
        package="pillow_heif",
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
