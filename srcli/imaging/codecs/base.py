"""The types that all codecs share: frames, timing, encoding options, and `Codec` itself."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from srcli.dataclass import dataclass
from srcli.errors import ImageError, UsageError
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

SUBSAMPLING = ("4:4:4", "4:2:2", "4:2:0")
# More pixels are refused: a few bytes can claim to be an image that fills any memory.
MAX_PIXELS = 2**29
# A frame counts as at least this many: each also takes time of its own, and a small file can hold many.
LEAST_FRAME_PIXELS = 2**14
# To look at a part of an image takes no more, and so much for a pixel of a depth, decoded and copied.
MAX_DECODED_BYTES = 400_000_000
_BYTES_TO_DECODE = {1: 8, 8: 8, 16: 16, 32: 32}
# So much of a file is enough for every codec to recognise it.
HEAD_BYTES = 4096


class UnsupportedImageError(Exception):
    """A sound file that cannot be read: `reason` continues "it cannot be read: ", `hint` says what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class PixelLimitError(ImageError):
    """A file claims more pixels than the limit allows; `needed` is the limit that it would need.

    The hint is for commands with the option `--max-pixels`.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message, "if that is right, raise the limit: --max-pixels " + str(needed))
        self.needed = needed


@dataclass(frozen=True)
class Frame:
    """A frame: (H, W) or (H, W, 2..4), uint8, uint16 or float32, upright; `depth` 1, 8, 16 or 32 (float).

    `notes` are short phrases about what is not as it is in the file; the line of the image says them.
    """

    samples: StoredSamples
    depth: int
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()

    @property
    def has_colours(self) -> bool:
        """True if it is not grey."""
        return self.samples.ndim == 3 and self.samples.shape[2] > 2

    @property
    def has_alpha(self) -> bool:
        """True if the last channel is alpha."""
        return self.samples.ndim == 3 and self.samples.shape[2] in (2, 4)


@dataclass(frozen=True)
class FrameTiming:
    """The timing of the frames of a file.

    `durations` are in milliseconds, empty for pages and single images. `plays` counts how often the animation
    is shown in all, 0 for without end. `cover`: the first frame of a PNG is only shown by readers without
    animation.
    """

    count: int = 1
    durations: tuple[float, ...] = ()
    plays: int = 0
    cover: bool = False


@dataclass(frozen=True)
class ImageInfo:
    """A file without its samples: `size` is (width, height), `mode` as Pillow has it, `depth` 32 for float.

    `quality` is the estimated quality of a JPEG.
    """

    format: str
    size: tuple[int, int]
    mode: str
    depth: int
    metadata: Metadata
    frames: int = 1
    quality: int | None = None


@dataclass(frozen=True)
class Extent:
    """The frames of a file as its headers claim them: how many, the largest (width, height), all pixels."""

    frames: int
    size: tuple[int, int]
    pixels: int

    @classmethod
    def of_canvas(cls, size: tuple[int, int], frames: int) -> "Extent":
        """Return the extent of an animation, each frame of which covers the whole canvas."""
        return cls(frames, size, frames * size[0] * size[1])

    def check(self, path: Path, max_pixels: int) -> None:
        """Raise `PixelLimitError` if all frames together have more pixels."""
        needed = max(self.pixels, self.frames * LEAST_FRAME_PIXELS if self.frames > 1 else 0)
        if needed <= max_pixels:
            return
        width, height = self.size
        if self.frames == 1:
            check_pixel_count(path, self.size, max_pixels)
        least = f", each counted as at least {LEAST_FRAME_PIXELS:,}" if self.pixels <= max_pixels else ""
        raise PixelLimitError(
            f"{path} claims to have {self.frames:,} frames of {width}x{height} pixels{least}, "
            f"more than the {max_pixels:,} allowed",
            needed,
        )


@dataclass(frozen=True)
class Coding:
    """The coding of the samples of a file, as far as it can be told.

    `quality` is 1..100, `subsampling` one of `SUBSAMPLING`.
    """

    quality: int | None = None
    subsampling: str | None = None
    is_lossless: bool = False


@dataclass(frozen=True)
class EncodingOptions:
    """Options for writing: `quality` 1..100 of lossy formats, `depth` in bits; None is up to the format.

    `background` is the colour behind transparent pixels in formats without transparency, by its name or as
    #rrggbb; without it, such images are refused. `png_level` is the level of zlib, 0..9, or None for speed.
    """

    quality: int | None = None
    lossless: bool = False
    subsampling: str | None = None
    depth: int | None = None
    strip: bool = False
    background: str | None = None
    png_level: int | None = None

    def check(self) -> None:
        """Raise `UsageError` for options that no format has, and unknown colours."""
        if self.background is not None:
            parse_colour(self.background)
        if self.subsampling not in (None, *SUBSAMPLING):
            known = ", ".join(SUBSAMPLING)
            raise UsageError(f"no chroma subsampling called '{self.subsampling}'", f"one of {known}")
        if self.png_level not in (None, *range(10)):
            raise UsageError(f"PNG has no compression level {self.png_level}", "use 0 to 9")
        if self.depth not in (None, 1, 8, 16, 32):
            raise UsageError(f"{self.depth} bits are not supported", "use --depth 1, 8, 16, or 32 for float")


def parse_colour(text: str) -> tuple[float, float, float]:
    """Return red, green and blue in [0, 1] of a colour as in CSS: `white`, `#fff`, `#ffffff`, `rgb(9, 9, 9)`.

    Raises `UsageError` for any other text.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UsageError(f"no colour called '{text}'", "for example white, black or #336699") from None
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class BandedImage:
    """An image of `shape` (H, W) or (H, W, 2..4) whose samples come in bands from the top, as in `Frame`."""

    shape: tuple[int, ...]
    depth: int
    bands: Iterator[StoredSamples]
    metadata: Metadata = Metadata()

    @property
    def channels(self) -> int:
        """The samples of a pixel."""
        return 1 if len(self.shape) == 2 else self.shape[2]


@dataclass(frozen=True)
class Codec(ABC):
    """A file format: what its files can hold, as data, and how they are read and written.

    `suffixes` are read and written, `read_suffixes` only read; files start with one of `signatures`.
    `depths` are bits per sample, 32 for float; `channels` are counts per pixel, 2 and 4 with alpha. Files of
    `read_depths` are read, too, and `read_channels` are those of files that are read, if they are others;
    `metadata_kinds` are fields of `Metadata`; `default_quality` is 0 for formats that are always lossless,
    `default_subsampling` empty for those without. `has_lossless` and `has_lossy`: it has the other way, too.
    `loss` says what every file loses. `largest_side` limits width and height.
    `mixed_frames`: frames may differ in size, depth and channels. `streams`: `write_rows` holds one band at a
    time. `can_salvage`: `salvage_frames` decodes what is left of a file that was cut off. The module
    `package`, if one is named, has to be installed, as the extra `extra` of sr-cli does. `pixels_per_byte` is
    how many pixels of 8-bit samples a byte may stand for by default; it is 1 to 10 for photographs.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    read_suffixes: tuple[str, ...] = ()
    signatures: tuple[bytes, ...] = ()
    depths: tuple[int, ...] = (8,)
    channels: tuple[int, ...] = (1, 3)
    read_depths: tuple[int, ...] = ()
    read_channels: tuple[int, ...] = ()
    frame_kind: Literal["one", "pages", "animation"] = "one"
    mixed_frames: bool = False
    metadata_kinds: tuple[str, ...] = ()
    default_quality: int = 0
    has_lossless: bool = False
    has_lossy: bool = False
    loss: str = ""
    default_subsampling: str = ""
    largest_side: int = 2**31 - 1
    streams: bool = False
    can_salvage: bool = False
    extra: str = ""
    package: str = ""
    pixels_per_byte: int = 32

    @property
    def can_write(self) -> bool:
        """True if files can be written, not only read."""
        return bool(self.suffixes)

    @property
    def all_read_depths(self) -> tuple[int, ...]:
        """The bits per sample of files that are read."""
        return tuple(sorted({*self.read_depths, *(self.depths if self.can_write else ())}))

    @property
    def all_read_channels(self) -> tuple[int, ...]:
        """The channels of files that are read."""
        return self.read_channels or self.channels

    @property
    def has_alpha(self) -> bool:
        """True if a channel of a file can be alpha."""
        return any(count in self.channels for count in (2, 4))

    @property
    def has_frames(self) -> bool:
        """True if a file can hold more than one frame or page."""
        return self.frame_kind != "one"

    @property
    def missing_package(self) -> str:
        """The package that has to be installed first; empty if nothing is missing."""
        return self.package.replace("_", "-") if self.package and find_spec(self.package) is None else ""

    def choose_depth(self, depth: int) -> int:
        """Return the smallest depth of this format that holds `depth` bits, or else its largest."""
        enough = [d for d in self.depths if d >= depth]
        return min(enough) if enough else max(self.depths)

    def sniff(self, head: bytes) -> bool:
        """Tell by the first `HEAD_BYTES` of a file whether it has this format."""
        return head.startswith(self.signatures)

    def measure(self, path: Path) -> Extent | None:
        """Return what the headers of a file of several frames claim; None for formats of one image."""
        return None

    @abstractmethod
    def describe(self, path: Path) -> ImageInfo:
        """Read the headers and the metadata of a file."""

    def list_sizes(self, path: Path) -> set[tuple[int, int]]:
        """Return the different sizes (width, height) of the frames, from the headers."""
        return {self.describe(path).size}

    def read_coding(self, path: Path) -> Coding:
        """Read how the samples of a file are coded, from its headers."""
        return Coding(is_lossless=self.can_write and not self.default_quality and not self.loss)

    def list_lost_metadata(self, metadata: Metadata) -> tuple[str, ...]:
        """Return the kinds of metadata, as fields of `Metadata`, that files cannot hold."""
        present = [field.name for field in fields(metadata) if getattr(metadata, field.name)]
        return tuple(kind for kind in present if kind not in self.metadata_kinds)

    @abstractmethod
    def read_timing(self, path: Path) -> FrameTiming:
        """Count the frames of a file and read how long each is shown."""

    @abstractmethod
    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the frames of a file one at a time, none of more than `max_pixels`."""

    def read_middle(self, path: Path, side: int, max_pixels: int) -> StoredSamples | None:
        """Decode the middle of the first frame, `side` pixels or less a side, as it is stored.

        Returns None if all of the image would have to be decoded, and that takes too much memory.
        """
        info = self.describe(path)
        if math.prod(info.size) * _BYTES_TO_DECODE[info.depth] > MAX_DECODED_BYTES:
            return None
        samples = next(self.read_frames(path, max_pixels)).samples
        return samples[find_middle(samples.shape[1::-1], side)].copy()

    def salvage_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode what is left of a file, with a note on how much that is, if the format can be salvaged."""
        return self.read_frames(path, max_pixels)

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode frames whose depth is one of `depths`; `suffix` tells the variants of a format apart.

        Of an animation, they have one size, depth and count of channels. They may be made while they are
        written, so codecs that can hold no more than two of them.
        Encoders raise `ValueError`, `RuntimeError`, `OverflowError`, `SystemError` or `struct.error` for what
        they refuse.
        """
        raise NotImplementedError

    def write_rows(self, file: BinaryIO, image: BandedImage, encoding: EncodingOptions) -> None:
        """Encode an image of 8 or more bits band by band, if the format `streams`."""
        raise NotImplementedError


class FloatCodec(Codec):
    """A format of one image of floats without metadata."""

    @abstractmethod
    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) from the header."""

    @abstractmethod
    def read_samples(self, path: Path) -> StoredSamples:
        """Decode (H, W) or (H, W, 2..4)."""

    @abstractmethod
    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W) or (H, W, 2..4) floats."""

    def describe(self, path: Path) -> ImageInfo:
        """Read the size; the rest is the same for all files."""
        return ImageInfo(self.name, self.read_size(path), "float", 32, Metadata())

    def read_timing(self, path: Path) -> FrameTiming:
        """Return the timing of a single image."""
        return FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the image. Raises `UnsupportedImageError` for samples that are not finite."""
        check_pixel_count(path, self.read_size(path), max_pixels)
        yield Frame(check_finite(self.read_samples(path).astype(np.float32)), 32)

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode one frame."""
        self.write_samples(file, next(iter(frames)).samples)


def read_head(path: Path, length: int) -> bytes:
    """Read the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(length)


def check_pixel_count(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Raise `PixelLimitError` for an image of more than `max_pixels`, `ValueError` for one of none."""
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f"its size is {width}x{height}")
    if width * height > max_pixels:
        raise PixelLimitError(
            f"{path} claims to have {width}x{height} pixels, more than the {max_pixels:,} allowed",
            width * height,
        )


def find_middle(size: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Return the rows and columns of the middle of an image of `size` (width, height), `side` at most."""
    left, top = (max(0, length - side) // 2 for length in size)
    return slice(top, top + min(side, size[1])), slice(left, left + min(side, size[0]))


def check_finite(samples: StoredSamples) -> StoredSamples:
    """Return the samples; raise `UnsupportedImageError` if one is NaN or infinite."""
    if not np.isfinite(samples).all():
        raise UnsupportedImageError(
            "it has samples that are NaN or infinite", "replace them by numbers in the program that made it"
        )
    return samples


def stretch_to_16bit(samples: StoredSamples, bits: int) -> StoredSamples:
    """Return samples of `bits` bits as uint16 that uses its whole range."""
    top = 2**bits - 1
    return np.asarray((np.minimum(samples, top).astype(np.uint32) * 65535 + top // 2) // top, np.uint16)
