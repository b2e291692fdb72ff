"""The image formats: which suffixes they have, and what their files can hold. Facts only."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from srcli.errors import ImageError


@dataclass(frozen=True)
class Format:
    """What can be written into files of a format.

    `name` is Pillow's; `depths` are bits per sample, 32 being float; `carries` names fields of `Metadata`;
    `lossy` is the quality by default, 0 where nothing is ever lost; `largest` is for either side; `extra` is
    what has to be installed, for the module that it `needs`.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: tuple[int, ...] = (8,)
    alpha: bool = False
    frames: bool = False
    carries: tuple[str, ...] = ()
    lossy: int = 0
    lossless: bool = False
    subsampling: bool = False
    largest: int = 2**31 - 1
    extra: str = ""
    needs: str = ""

    @property
    def missing(self) -> str:
        """The package that this machine lacks for it; empty where nothing is lacking."""
        return self.needs.replace("_", "-") if self.needs and find_spec(self.needs) is None else ""

    def depth_for(self, depth: int) -> int:
        """The depth that keeps most of `depth` bits."""
        enough = [d for d in self.depths if d >= depth]
        return min(enough) if enough else max(self.depths)


FORMATS = (
    Format(
        "PNG",
        (".png", ".apng"),
        (1, 8, 16),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp", "dpi", "chunks"),
    ),
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        carries=("icc", "exif", "xmp", "dpi", "comment"),
        lossy=95,
        subsampling=True,
        largest=65500,
    ),
    Format(
        "WEBP",
        (".webp",),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp"),
        lossy=95,
        lossless=True,
        largest=16383,
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        (1, 8, 16, 32),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp", "dpi"),
    ),
    Format("BMP", (".bmp",), (1, 8), carries=("dpi",)),
    Format("GIF", (".gif",), alpha=True, frames=True, carries=("comment",), largest=65535),
    Format(
        "AVIF",
        (".avif",),
        alpha=True,
        frames=True,
        carries=("icc", "exif", "xmp"),
        lossy=90,
        subsampling=True,
        largest=32768,
    ),
    Format("JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf"), (8, 16), alpha=True, carries=("comment",)),
    Format("PPM", (".ppm", ".pgm", ".pnm"), (8, 16)),
    Format("PFM", (".pfm",), (32,)),
    Format("HDR", (".hdr",), (32,)),
    Format("EXR", (".exr",), (32,), alpha=True, extra="exr", needs="OpenEXR"),
    Format(
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
_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}
SUFFIXES = tuple(_BY_SUFFIX)


class Named(Protocol):
    """A path, here or in a store."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""


def is_image(path: Named) -> bool:
    """Whether the name looks like an image that can be read."""
    return path.suffix.lower() in _BY_SUFFIX and not path.name.startswith(".")


def of(path: Named) -> Format:
    """The format that the name of `path` stands for. Raises `ImageError` for names of no known format."""
    found = _BY_SUFFIX.get(path.suffix.lower())
    if found is None:
        raise ImageError(f"cannot write '{path.suffix}' files", f"writable: {' '.join(SUFFIXES)}")
    return found


def suffix_of(name: str) -> str:
    """The suffix for a format as a user names it, `jpeg` or `.TIF`. Raises `ImageError` for others."""
    suffix = f".{name.lower().removeprefix('.')}"
    named = next((f.suffixes[0] for f in FORMATS if name.upper() == f.name), suffix)
    of(Path(f"x{named}"))
    return named
