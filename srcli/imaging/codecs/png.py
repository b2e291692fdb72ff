"""PNG and animated PNG: a writer of 8 and 16 bits band by band, and chunks that stay as they are.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.codecs.base import BandedImage, EncodingOptions, Frame, FrameTiming, read_head
from srcli.imaging.codecs.pillow import PillowCodec
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import TEXT_CHUNKS, Chunk, Metadata
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Bytes = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks about colour and text stay to the byte; XMP, EXIF and ICC are fields of `Metadata`.
_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_XMP = b"XML:com.adobe.xmp"
# Colour types by the number of channels.
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_GREY, _RGB, _GREY_ALPHA = 0, 2, 4
_BAND = 64


class PngCodec(PillowCodec):
    """PNG: Pillow reads 8 bits and animations, OpenCV 16 bits; single images are written here."""

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Read the depth from the header: Pillow opens 16-bit colour as 8 bits."""
        return 16 if read_head(path, 25)[24] == 16 else 8

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode with OpenCV, which reads grey with alpha as RGBA and ignores a transparent colour."""
        samples = super().read_16bit(file, path)
        colour_type, transparent = read_head(path, 26)[25], file.info.get("transparency")
        has_alpha = samples.ndim == 3 and samples.shape[2] == 4
        if colour_type == _GREY_ALPHA and samples.ndim == 3:
            return np.ascontiguousarray(samples[..., [0, 3]])
        if colour_type in (_GREY, _RGB) and transparent is not None and not has_alpha:
            values = samples.reshape(*samples.shape[:2], -1)
            is_clear = (values == np.asarray(transparent)).all(axis=2, keepdims=True)
            return np.concatenate([values, np.where(is_clear, 0, 65535).astype(np.uint16)], axis=2)
        return samples

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return what Pillow found, and the chunks about colour and text."""
        found = super().read_metadata(file, path)
        with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
            chunks = read_metadata_chunks(data)
        return Metadata(found.icc, found.exif, found.xmp, found.dpi, found.comment, chunks)

    def write(
        self,
        file: BinaryIO,
        frames: Sequence[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode a single frame here; Pillow takes those of 1 bit and animations."""
        first = frames[0]
        if len(frames) > 1 or first.depth == 1:
            super().write(file, frames, timing, encoding, suffix)
            return
        bands = (first.samples[top : top + _BAND] for top in range(0, first.samples.shape[0], _BAND))
        self.write_rows(file, BandedImage(first.samples.shape, first.depth, bands, first.metadata), encoding)

    def write_rows(self, file: BinaryIO, image: BandedImage, encoding: EncodingOptions) -> None:
        """Encode uint8 or uint16 band by band."""
        height, width = image.shape[:2]
        colour_type = _COLOUR_TYPE[image.channels]
        header = struct.pack(">IIBBBBB", width, height, image.depth, colour_type, 0, 0, 0)
        before = [(b"IHDR", header), *_make_metadata_chunks(image.metadata)]
        file.write(SIGNATURE)
        for chunk in chain(before, _compress(image), [(b"IEND", b"")]):
            _write_chunk(file, chunk)

    def metadata_options(self, metadata: Metadata) -> dict[str, Any]:
        """Return the metadata, with XMP and chunks as Pillow wants them."""
        from PIL.PngImagePlugin import PngInfo

        options = super().metadata_options(metadata)
        options.pop("xmp", None)  # Pillow would need it as text
        info = PngInfo()
        for name, content in _make_metadata_chunks(Metadata(xmp=metadata.xmp, chunks=metadata.chunks)):
            info.add(name, content)
        return options | {"pnginfo": info}

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return a quick level of compression."""
        return {"compress_level": 2}

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return durations, loops, and whether the first frame is a cover, which has no duration."""
        options = super().timing_options(timing)
        if timing.cover:
            options["duration"] = options.get("duration", [])[1:]
        return options | {"loop": timing.loops or 0, "default_image": timing.cover}


def read_chunks(data: bytes | mmap) -> Iterator[Chunk]:
    """Yield name and content of each chunk. Raises `ValueError` for a cut-off file or a wrong checksum."""
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the file ends within a chunk")
        length, name = struct.unpack_from(">I4s", data, at)
        content, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(checksum) < 4 or struct.unpack(">I", checksum)[0] != zlib.crc32(content, zlib.crc32(name)):
            raise ValueError(f"the chunk {name!r} is damaged")
        yield name, content
        if name == b"IEND":
            return
        at += 12 + length
    raise ValueError("the file ends without its last chunk")


def read_metadata_chunks(data: bytes | mmap) -> tuple[Chunk, ...]:
    """Return the chunks about colour and text, as they are."""
    return tuple(
        (name, content)
        for name, content in read_chunks(data)
        if name in _COLOUR_CHUNKS or (name in TEXT_CHUNKS and not content.startswith(_XMP))
    )


def _make_metadata_chunks(metadata: Metadata) -> list[Chunk]:
    """Return chunks in the order of the specification: colour first."""
    icc, dpi = metadata.icc, metadata.dpi
    out = [(b"iCCP", b"icc\0\0" + zlib.compress(icc))] if icc else []
    # A profile overrules sRGB and gamma, and readers warn about a file that has both.
    out += [chunk for chunk in metadata.chunks if not (icc and chunk[0] in (b"sRGB", b"iCCP"))]
    if dpi:
        per_metre = [round(value / 0.0254) for value in dpi]
        out.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        out.append((b"eXIf", exif.strip_prefix(metadata.exif)))
    return out + ([(b"iTXt", _XMP + b"\0\0\0\0\0" + metadata.xmp)] if metadata.xmp else [])


def _write_chunk(file: BinaryIO, chunk: Chunk) -> None:
    name, content = chunk
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def _compress(image: BandedImage) -> Iterator[Chunk]:
    """Yield the samples, filtered and compressed, a chunk or less for each band."""
    number, apply_filter = _FILTERS[image.depth]
    compressor = _make_compressor(image.depth)
    step = image.channels * image.depth // 8
    length = image.shape[1] * step
    above = np.zeros((1, length), np.uint8)
    for band in image.bands:
        raw = np.ascontiguousarray(band, f">u{image.depth // 8}").view(np.uint8).reshape(len(band), -1)
        lines = np.empty((len(raw), length + 1), np.uint8)
        lines[:, 0] = number
        lines[:, 1:] = apply_filter(raw, np.vstack([above, raw[:-1]]), step)
        above = raw[-1:]
        content = compressor.compress(lines.data)
        if content:
            yield b"IDAT", content
    yield b"IDAT", compressor.flush()


def _make_compressor(depth: int) -> "zlib._Compress":
    """Return a compressor; of 8 bits it looks for runs only: twice as fast, and photographs get no larger."""
    if depth == 8:
        return zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return zlib.compressobj(4)


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
    metadata_kinds=("icc", "exif", "xmp", "dpi", "chunks"),
    streams=True,
    plugin="PngImagePlugin",
)
