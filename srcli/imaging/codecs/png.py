"""PNG and animated PNG: still images are written band by band, and chunks stay as they are.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/.
"""

import importlib
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.codecs.apng import (
    Animation,
    count_claimed_frames,
    draw_frames,
    find_change,
    make_control,
    read_animation,
)
from srcli.imaging.codecs.base import (
    BandedImage,
    EncodingOptions,
    Extent,
    Frame,
    FrameTiming,
    check_pixel_count,
    find_middle,
    read_head,
)
from srcli.imaging.codecs.orientation import turn_upright
from srcli.imaging.codecs.pillow import PillowCodec, open_image, read_8bit
from srcli.imaging.codecs.png_chunks import (
    SIGNATURE,
    Header,
    make_metadata_chunks,
    parse_header,
    read_metadata_chunks,
    write_chunk,
)
from srcli.imaging.codecs.png_rows import read_window
from srcli.imaging.metadata.exif import read_orientation
from srcli.imaging.metadata.fields import Chunk, Metadata
from srcli.imaging.pixels import StoredSamples, white_level
from srcli.workers.prefetch import prefetch_map

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Bytes = NDArray[np.uint8]

# Colour types by the number of channels.
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_GREY, _RGB, _GREY_ALPHA = 0, 2, 4
_HEADER_BYTES = 33
_BAND = 64
_LARGE = 2**24
# Images of this many bytes are compressed by several threads, which take some milliseconds to start.
_MANY_BYTES = 2**20
# Smaller ones are compressed before faster libraries than zlib are imported.
_ENOUGH_BYTES = 2**19
# The largest level that means speed, and the level of depths other than 8.
_FAST, _DEEP_LEVEL = 2, 4


class PngCodec(PillowCodec):
    """PNG: Pillow decodes it; animations are drawn here, and all files written."""

    def measure(self, path: Path) -> Extent | None:
        """Return the size and the claimed number of frames; None for a PNG of one frame."""
        with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
            header, frames = parse_header(data[:_HEADER_BYTES]), count_claimed_frames(data)
        return Extent.of_canvas((header.width, header.height), frames) if frames > 1 else None

    def read_timing(self, path: Path) -> FrameTiming:
        """Read the durations of the frames; nothing is decoded."""
        animation = _open_animation(path)
        return animation.timing if animation else FrameTiming()

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the frames, turned upright."""
        animation = _open_animation(path)
        if animation is None:
            yield from super().read_frames(path, max_pixels)
            return
        with self.open(path) as file:
            check_pixel_count(path, file.size, max_pixels)
            metadata = self.read_metadata(file, path)
            orientation = self.read_orientation(file, metadata)
        for frame in _draw_animation(animation, self._decode_part, metadata):
            yield turn_upright(frame, orientation)

    def _decode_part(self, data: bytes) -> StoredSamples:
        header, stream = parse_header(data), io.BytesIO(data)
        if header.depth == 16:
            return _decode_16bit(stream, header)
        with open_image(stream, (self.name,)) as file:
            self.prepare(file, header)
            return np.asarray(read_8bit(file, Metadata()).samples)

    def read_middle(self, path: Path, side: int, max_pixels: int) -> StoredSamples | None:
        """Decode the middle of a large file band by band, without a transparent colour."""
        header = parse_header(read_head(path, _HEADER_BYTES))
        if header.width * header.height < _LARGE or _open_animation(path):
            return super().read_middle(path, side, max_pixels)
        check_pixel_count(path, (header.width, header.height), max_pixels)
        return read_window(path, *find_middle((header.width, header.height), side))

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Read the depth from the header: Pillow opens 16-bit colour as 8 bits."""
        header = parse_header(read_head(path, _HEADER_BYTES))
        self.prepare(file, header)
        return 16 if header.depth == 16 else 8

    def prepare(self, file: "PilImage", header: Header) -> None:
        """Scale the transparent grey of 1, 2 or 4 bits as Pillow scales the samples (PNG, 11.3.2.1)."""
        key = file.info.get("transparency")
        top = 2**header.depth - 1
        if header.colour_type == _GREY and header.depth < 16 and isinstance(key, int):
            file.info["transparency"] = (key & top) * 255 // top
        elif header.colour_type == _RGB and header.depth < 16 and isinstance(key, tuple):
            file.info["transparency"] = tuple(value & top for value in key)

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode the samples; a transparent colour becomes alpha."""
        with path.open("rb") as stream:
            return _decode_16bit(stream, parse_header(read_head(path, _HEADER_BYTES)))

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return what Pillow found, the chunks about colour and text, and EXIF from text."""
        found = super().read_metadata(file, path)
        with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
            more = read_metadata_chunks(data)
        return replace(found, exif=found.exif or more.exif, chunks=more.chunks, cicp=more.cicp)

    def read_orientation(self, file: "PilImage", metadata: Metadata) -> int:
        """Return the orientation that EXIF gives, in its own chunk or in text."""
        return read_orientation(metadata.exif) if metadata.exif else super().read_orientation(file, metadata)

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode a frame, or an animation each frame of which replaces what has changed."""
        prepared = map(self._threshold, frames)
        if timing.count > 1:
            _write_animation(file, prepared, timing, encoding.png_level)
        else:
            self.write_rows(file, _to_bands(next(prepared)), encoding)

    def _threshold(self, frame: Frame) -> Frame:
        """Return a frame of 1 bit in grey, as Pillow converts it; others stay."""
        if frame.depth != 1:
            return frame
        return replace(frame, samples=np.asarray(self.to_picture(frame)).astype(np.uint8) * np.uint8(255))

    def write_rows(self, file: BinaryIO, image: BandedImage, encoding: EncodingOptions) -> None:
        """Encode uint8 or uint16 band by band."""
        file.write(SIGNATURE)
        for chunk in chain(_make_head(image), _compress(image, encoding.png_level), [(b"IEND", b"")]):
            write_chunk(file, chunk)


def _open_animation(path: Path) -> Animation | None:
    with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
        return read_animation(data)


def _draw_animation(
    animation: Animation, decode: Callable[[bytes], StoredSamples], metadata: Metadata
) -> Iterator[Frame]:
    """Yield the frames of an animation, grey if its samples are, with alpha if it can have any."""
    header = animation.header
    is_grey = header.colour_type in (_GREY, _GREY_ALPHA)
    may_be_clear = header.has_alpha or any(name == b"tRNS" for name, _ in animation.shared)
    depth = 16 if header.depth == 16 else 8
    parts = (_to_rgba(decode(animation.encode_part(part))) for part in animation.parts)
    for canvas in draw_frames(animation, parts):
        has_alpha = may_be_clear or bool((canvas[..., 3] < white_level(canvas)).any())
        wanted = [0] * is_grey + [0, 1, 2] * (not is_grey) + [3] * has_alpha
        samples = canvas[..., wanted] if len(wanted) > 1 else canvas[..., 0]
        yield Frame(np.ascontiguousarray(samples), depth, metadata)


def _to_rgba(samples: StoredSamples) -> StoredSamples:
    planes = samples[..., None] if samples.ndim == 2 else samples
    count = planes.shape[2]
    if count in (1, 3):
        opaque = np.full_like(planes[..., :1], white_level(planes))
        planes = np.concatenate([planes, opaque], axis=2)
    return planes if count > 2 else planes[..., [0, 0, 0, 1]]


def _decode_16bit(stream: BinaryIO, header: Header) -> StoredSamples:
    """Return (H, W) or (H, W, 2..4) uint16, with the alpha that a transparent colour stands for."""
    if header.colour_type == _GREY:
        samples, transparent = _decode_as(stream, "I;16B")
    elif header.colour_type == _GREY_ALPHA:  # four bytes per pixel, like RGBA
        quads, transparent = _decode_as(stream, "RGBA", "RGBA")
        samples = quads.view(">u2").astype(np.uint16)
    else:  # Pillow keeps one byte of a sample, so it decodes colour twice: high bytes, then low bytes
        mode = "RGB" if header.colour_type == _RGB else "RGBA"
        high, transparent = _decode_as(stream, f"{mode};16B")
        samples = high.astype(np.uint16) << 8
        np.bitwise_or(samples, _decode_as(stream, f"{mode};16L")[0], samples)
    if header.colour_type not in (_GREY, _RGB) or transparent is None:
        return samples
    values = samples.reshape(*samples.shape[:2], -1)
    is_clear = (values == np.asarray(transparent)).all(axis=2, keepdims=True)
    return np.concatenate([values, np.where(is_clear, 0, 65535).astype(np.uint16)], axis=2)


def _decode_as(stream: BinaryIO, layout: str, mode: str | None = None) -> tuple[StoredSamples, Any]:
    """Decode a PNG whose samples are laid out in the way that Pillow calls `layout`; return its tRNS, too."""
    stream.seek(0)
    file: Any
    with open_image(stream, ("PNG",)) as file:
        file._mode = mode or file.mode
        file.tile = [tile._replace(args=layout) for tile in file.tile]
        return np.asarray(file), file.info.get("transparency")


def _make_head(image: BandedImage) -> list[Chunk]:
    """Return the chunks before the samples."""
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, image.depth, _COLOUR_TYPE[image.channels], 0, 0, 0)
    return [(b"IHDR", header), *make_metadata_chunks(image.metadata)]


def _to_bands(frame: Frame) -> BandedImage:
    bands = (frame.samples[top : top + _BAND] for top in range(0, frame.samples.shape[0], _BAND))
    return BandedImage(frame.samples.shape, frame.depth, bands, frame.metadata)


def _write_animation(file: BinaryIO, frames: Iterable[Frame], timing: FrameTiming, level: int | None) -> None:
    """Write frames of one shape and depth; of each but the first, only the part that has changed."""
    durations = timing.durations or (0,) * timing.count
    before: Frame | None = None
    number = 0
    file.write(SIGNATURE)
    for index, frame in enumerate(frames):
        if not index:
            header, *others = _make_head(_to_bands(frame))
            control = struct.pack(">II", timing.count - timing.cover, timing.plays)
            for chunk in (header, (b"acTL", control), *others):
                write_chunk(file, chunk)
        height, width = frame.samples.shape[:2]
        area = slice(0, height), slice(0, width)
        if before and index > timing.cover:
            area = find_change(before.samples, frame.samples)
        if index or not timing.cover:
            write_chunk(file, make_control(number, area, durations[index]))
            number += 1
        samples = frame.samples[area]
        for name, content in _compress(BandedImage(samples.shape, frame.depth, iter([samples])), level):
            if index:
                write_chunk(file, (b"fdAT", struct.pack(">I", number) + content))
                number += 1
            else:
                write_chunk(file, (name, content))
        before = frame
    write_chunk(file, (b"IEND", b""))


def _compress(image: BandedImage, level: int | None) -> Iterator[Chunk]:
    """Yield the samples, filtered and compressed, a chunk or less for each band."""
    if image.depth == 8 and math.prod(image.shape) >= _MANY_BYTES:
        yield from _compress_by_threads(image, level)
        return
    compressor = _make_compressor(image, level)
    for raw, above in _pack_bands(image):
        content = compressor.compress(_filter(image, raw, above).data)
        if content:
            yield b"IDAT", content
    yield b"IDAT", compressor.flush()


def _compress_by_threads(image: BandedImage, level: int | None) -> Iterator[Chunk]:
    """Yield a chunk for each band, compressed while the next bands are made.

    Runs do not reach back over the start of a band, so bands compressed by themselves are hardly larger. The
    format of the whole: RFC 1950.
    """

    def compress(band: tuple[Bytes, Bytes]) -> tuple[Bytes, bytes]:
        lines = _filter(image, *band)
        compressor = _make_compressor(image, level, zlib_header=False)
        return lines, compressor.compress(lines.data) + compressor.flush(zlib.Z_FULL_FLUSH)

    checksum, head = 1, b"\x78\x01"
    for lines, content in prefetch_map(compress, _pack_bands(image)):
        checksum = zlib.adler32(lines.data, checksum)
        yield b"IDAT", head + content
        head = b""
    last = zlib.compressobj(wbits=-15).flush()
    yield b"IDAT", head + last + struct.pack(">I", checksum)


def _pack_bands(image: BandedImage) -> Iterator[tuple[Bytes, Bytes]]:
    """Yield the bytes of each band, and the row of bytes above it."""
    above = np.zeros((1, -(-image.shape[1] * image.channels * image.depth // 8)), np.uint8)
    for band in image.bands:
        raw = _pack(band, image.depth)
        yield raw, above
        above = raw[-1:]


def _filter(image: BandedImage, raw: Bytes, above: Bytes) -> Bytes:
    """Return the filtered lines of a band, each after the number of its filter."""
    number, apply_filter = _FILTERS[image.depth]
    step = max(image.channels * image.depth // 8, 1)
    lines = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
    lines[:, 0] = number
    lines[:, 1:] = apply_filter(raw, np.vstack([above, raw[:-1]]), step)
    return lines


def _pack(band: StoredSamples, depth: int) -> Bytes:
    """Return rows as bytes: eight pixels in one if they have 1 bit, or else with the high byte first."""
    if depth == 1:
        return np.packbits(band > 0, axis=1)
    return np.ascontiguousarray(band, f">u{depth // 8}").view(np.uint8).reshape(len(band), -1)


class _Compressor(Protocol):
    """A `zlib.compressobj` of any library."""

    def compress(self, data: Any, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


def _make_compressor(image: BandedImage, level: int | None, *, zlib_header: bool = True) -> _Compressor:
    """Return a compressor of the fastest library that is installed; zlib's for small images.

    By default, and up to zlib's level `_FAST`, 8 bits are compressed by ISA-L, which is four times as fast as
    zlib. zlib itself looks for runs only then: twice as fast, and photographs get no larger.
    """
    bits = 15 if zlib_header else -15
    depth, is_small = image.depth, math.prod(image.shape) * image.depth // 8 < _ENOUGH_BYTES
    fastest, fast = (None, zlib) if is_small else _find_libraries()
    is_fast = level is None or 0 < level <= _FAST
    if depth == 8 and is_fast and fastest:
        return cast(_Compressor, fastest.compressobj(1, zlib.DEFLATED, bits))
    if depth == 8 and is_fast:
        return cast(_Compressor, fast.compressobj(1, zlib.DEFLATED, bits, 9, zlib.Z_RLE))
    return cast(_Compressor, fast.compressobj(_DEEP_LEVEL if level is None else level, zlib.DEFLATED, bits))


@lru_cache(maxsize=1)
def _find_libraries() -> tuple[Any, Any]:
    """Return ISA-L's compressor, if it is installed, and zlib or its faster successor."""
    found: list[Any] = [None, zlib]
    for place, name in enumerate(("isal.isal_zlib", "zlib_ng.zlib_ng")):
        with suppress(ImportError):
            found[place] = importlib.import_module(name)
    return found[0], found[1]


def _filter_average(raw: Bytes, above: Bytes, step: int) -> Bytes:
    """Subtract from bytes the mean of the one above and the one `step` bytes to the left (9.3)."""
    left = np.zeros_like(raw)
    left[:, step:] = raw[:, :-step]
    return raw - ((left & above) + ((left ^ above) >> 1))


def _filter_paeth(raw: Bytes, above: Bytes, step: int) -> Bytes:
    """Subtract from bytes their best neighbour: left, above or left above, `step` bytes away (9.4)."""
    left, corner = (np.pad(a, ((0, 0), (step, 0)))[:, :-step].astype(np.int16) for a in (raw, above))
    up = above.astype(np.int16)
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    best = np.where(to_up <= to_corner, up, corner)
    best = np.where((to_left <= to_up) & (to_left <= to_corner), left, best)
    return raw - best.astype(np.uint8)


# By depth: the number of the filter, and its function.
_FILTERS: dict[int, tuple[int, Callable[[Bytes, Bytes, int], Bytes]]] = {
    1: (0, lambda raw, above, step: raw),
    8: (3, _filter_average),
    16: (4, _filter_paeth),
}

CODEC = PngCodec(
    name="PNG",
    suffixes=(".png", ".apng"),
    signatures=(SIGNATURE,),
    depths=(1, 8, 16),
    channels=(1, 2, 3, 4),
    frame_kind="animation",
    metadata_kinds=("icc", "exif", "xmp", "dpi", "chunks", "cicp"),
    streams=True,
    plugin="PngImagePlugin",
    read_depths=(2, 4),
)
