"""What every codec works with: frames and their timing, encoding options, and what a format can hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from srcli.errors import UsageError
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0")


@dataclass(frozen=True)
class Frame:
    """A frame: (H, W) or (H, W, 2..4), uint8, uint16 or float32, upright; `depth` 1, 8, 16 or 32 (float)."""

    samples: StoredSamples
    depth: int
    metadata: Metadata = Metadata()

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.samples.ndim == 3 and self.samples.shape[2] in (2, 4)


@dataclass(frozen=True)
class FrameTiming:
    """How the frames of a file follow each other.

    `durations` in milliseconds, empty for pages and single images; `loops` 0 is for ever, None once.
    `cover`: the first frame of a PNG is only for readers that show no animation.
    """

    count: int = 1
    durations: tuple[float, ...] = ()
    loops: int | None = None
    cover: bool = False


@dataclass(frozen=True)
class ImageInfo:
    """What a file is, without its samples; `colours` as Pillow calls its modes, `depth` 32 for float.

    `quality` is a JPEG's, estimated.
    """

    format: str
    size: tuple[int, int]
    colours: str
    depth: int
    metadata: Metadata
    frames: int = 1
    quality: int | None = None


@dataclass(frozen=True)
class EncodingOptions:
    """How to write: `quality` 1..100 of lossy formats, `depth` in bits; None is what suits the format."""

    quality: int | None = None
    lossless: bool = False
    subsampling: str | None = None
    depth: int | None = None
    strip: bool = False

    def check(self) -> None:
        """Raise `UsageError` for what no format has."""
        if self.subsampling not in (None, *SUBSAMPLING):
            known = ", ".join(SUBSAMPLING)
            raise UsageError(f"no chroma subsampling called '{self.subsampling}'", f"one of {known}")
        if self.depth not in (None, 1, 8, 16, 32):
            raise UsageError(f"no images of {self.depth} bits", "--depth 1, 8, 16, or 32 for float")


@dataclass(frozen=True)
class BandedImage:
    """An image of `shape` (H, W) or (H, W, 2..4) whose samples come in bands from the top, as in `Frame`."""

    shape: tuple[int, ...]
    depth: int
    bands: Iterator[StoredSamples]
    metadata: Metadata = Metadata()


@dataclass(frozen=True)
class Codec:
    """A file format: its suffixes, and what its files can hold.

    `name` is Pillow's; `depths` are bits per sample, 32 for float; `metadata_kinds` are fields of `Metadata`;
    `default_quality` is 0 for lossless formats; `largest_side` limits width and height; writing needs the
    module `package`, which `extra` of sr-cli installs.
    """

    name: str
    suffixes: tuple[str, ...]
    depths: tuple[int, ...] = (8,)
    has_alpha: bool = False
    has_frames: bool = False
    metadata_kinds: tuple[str, ...] = ()
    default_quality: int = 0
    has_lossless: bool = False
    has_subsampling: bool = False
    largest_side: int = 2**31 - 1
    extra: str = ""
    package: str = ""

    @property
    def missing_package(self) -> str:
        """The package that this machine lacks for it; empty where nothing is lacking."""
        return self.package.replace("_", "-") if self.package and find_spec(self.package) is None else ""

    def nearest_depth(self, depth: int) -> int:
        """The depth that keeps most of `depth` bits."""
        enough = [d for d in self.depths if d >= depth]
        return min(enough) if enough else max(self.depths)
