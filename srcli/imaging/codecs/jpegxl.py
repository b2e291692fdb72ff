"""JPEG XL; samples through imagecodecs, profile and EXIF through pillow-jxl-plugin; read, not written.

The header is read here, because both decode all of a file before they say how large it is. Source: ISO/IEC
18181-1, annex D; ISO/IEC 18181-2, clause 9.
"""

import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import (
    Codec,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_finite,
    check_pixel_count,
    read_head,
    stretch_to_16bit,
)
from srcli.imaging.codecs.pillow import open_image
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata, scale_metadata
from srcli.imaging.pixels import StoredSamples

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
_HEADER_BYTES = 2**16
# Width over height, by a number in the header.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_TRANSPOSED = (5, 6, 7, 8)
_PACKAGES = ("imagecodecs", "pillow_jxl")


@dataclass(frozen=True)
class _Header:
    """The size (width, height) of an upright image, whether it is an animation, and bits, 32 for float."""

    size: tuple[int, int]
    is_animation: bool = False
    bits: int = 8

    @property
    def depth(self) -> int:
        return self.bits if self.bits == 32 else 16 if self.bits > 8 else 8


class JpegXlCodec(Codec):
    """JPEG XL, bare or in a container."""

    @property
    def missing_package(self) -> str:
        """Name the packages that have to be installed first; empty if nothing is missing."""
        names = {"pillow_jxl": "pillow-jxl-plugin"}
        return " and ".join(names.get(name, name) for name in _PACKAGES if find_spec(name) is None)

    def describe(self, path: Path) -> ImageInfo:
        """Read the header; the profile and the EXIF block are known only after decoding."""
        header = read_header(path)
        return ImageInfo(self.name, header.size, "RGB", header.depth, Metadata())

    def read_timing(self, path: Path) -> FrameTiming:
        """Return the timing of a single image. Raises `UnsupportedImageError` for an animation."""
        if read_header(path).is_animation:
            hint = "convert it with djxl: djxl in.jxl out.apng"
            raise UnsupportedImageError("it is an animation, whose timing no decoder gives here", hint)
        return FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the image, upright, with its profile."""
        header = read_header(path)
        check_pixel_count(path, header.size, max_pixels)
        self.read_timing(path)
        samples = _stretch(_decode(path), header.bits)
        if samples.shape[1::-1] != header.size:
            raise ValueError("its size is not that of its header")
        depth = {"uint8": 8, "uint16": 16}.get(samples.dtype.name, 32)
        if depth == 32:
            samples = check_finite(samples.astype(np.float32))
        yield Frame(samples, depth, scale_metadata(_read_metadata(path), header.size, header.size))


def _decode(path: Path) -> StoredSamples:
    """Decode (H, W) or (H, W, 2..4), upright. Raises `ValueError` if that fails."""
    import imagecodecs

    try:
        samples = np.asarray(imagecodecs.jpegxl_decode(path.read_bytes()))
    except imagecodecs.JpegxlError as error:
        raise ValueError(f"libjxl reports: {error}") from error
    return samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else samples


def _stretch(samples: StoredSamples, bits: int) -> StoredSamples:
    """Return integers of `bits` bits, as libjxl gives them, in the whole range of 8 or 16."""
    if bits > 8:
        return samples if bits in (16, 32) else stretch_to_16bit(samples, bits)
    return samples if bits == 8 else np.rint(samples * (255 / (2**bits - 1))).astype(np.uint8)


def _read_metadata(path: Path) -> Metadata:
    from pillow_jxl import JpegXLImagePlugin  # noqa: F401 (registers itself)

    with open_image(path, ("JXL",)) as file:
        block = file.info.get("exif")
        icc = file.info.get("icc_profile")
    return Metadata(icc=icc or None, exif=exif.strip_prefix(block) or None if block else None)


class _Bits:
    """Reads numbers of a code stream, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number. Raises `ValueError` at the end."""
        if count > self._left:
            raise ValueError("its header is cut off")
        number = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return number

    def choose(self, *options: tuple[int, int]) -> int:
        """Return a number in one of four codings, each of an offset and a count of bits (U32)."""
        offset, count = options[self.take(2)]
        return offset + self.take(count)


def read_header(path: Path) -> _Header:
    """Read the headers of a file. Raises `ValueError` if they are damaged."""
    data = _find_codestream(read_head(path, _HEADER_BYTES))
    bits = _Bits(data[2:64])
    width, height = _read_size(bits)
    if bits.take(1):  # all fields have their defaults
        return _Header((width, height))
    orientation, is_animation = 1, False
    if bits.take(1):
        orientation = 1 + bits.take(3)
        if bits.take(1):
            _read_size(bits)  # the size to be shown at
        if bits.take(1):
            raise UnsupportedImageError("it has a preview", "convert it to PNG with djxl")
        is_animation = bool(bits.take(1))
        if is_animation:
            bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choose((0, 0), (0, 3), (0, 16), (0, 32))
            bits.take(1)
    is_float = bits.take(1)
    depth = 32 if is_float else bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
    return _Header((height, width) if orientation in _TRANSPOSED else (width, height), is_animation, depth)


def _read_size(bits: _Bits) -> tuple[int, int]:
    """Read (width, height)."""
    is_small = bits.take(1)

    def read_side() -> int:
        return 8 * (1 + bits.take(5)) if is_small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

    height, ratio = read_side(), bits.take(3)
    if not ratio:
        return read_side(), height
    over, under = _RATIOS[ratio]
    return height * over // under, height


def _find_codestream(data: bytes) -> bytes:
    """Return the beginning of the code stream of a bare file or a container, which may hold it in parts."""
    if data.startswith(_CODESTREAM):
        return data
    found, at = b"", 0
    while at + 16 <= len(data):
        length, kind, long_length = struct.unpack_from(">I4sQ", data, at)
        start = at + (16 if length == 1 else 8)
        stop = at + {0: len(data), 1: long_length}.get(length, length)
        if kind in (b"jxlc", b"jxlp"):
            found += data[start + 4 * (kind == b"jxlp") : stop]
        at = max(stop, at + 8)
    if not found.startswith(_CODESTREAM):
        raise ValueError("it has no code stream at its beginning")
    return found


CODEC = JpegXlCodec(
    name="JXL",
    read_suffixes=(".jxl",),
    signatures=(_CODESTREAM, _CONTAINER),
    extra="jxl",
    package="pillow_jxl",
    read_depths=(8, 16, 32),
    read_channels=(1, 3, 4),
)
