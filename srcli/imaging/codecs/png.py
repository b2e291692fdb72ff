"""PNG as chunks: metadata kept to the byte, and 16-bit samples of any number of channels.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from mmap import mmap
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import StoredSamples

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Kept as they are: how samples relate to light, and what people wrote. XMP, EXIF and ICC go their own way.
_COLOUR = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_BAND = 64

Chunk = tuple[bytes, bytes]


def chunks(data: bytes | mmap) -> Iterator[Chunk]:
    """Name and content of each chunk. Raises `ValueError` where the file ends early or a sum is wrong."""
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the file ends within a chunk")
        length, name = struct.unpack_from(">I4s", data, at)
        content, total = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        if len(total) < 4 or struct.unpack(">I", total)[0] != zlib.crc32(content, zlib.crc32(name)):
            raise ValueError(f"the chunk {name!r} is damaged")
        yield name, content
        if name == b"IEND":
            return
        at += 12 + length
    raise ValueError("the file ends without its last chunk")


def kept_chunks(data: bytes | mmap) -> tuple[Chunk, ...]:
    """The chunks of text and of colour, as they are."""
    return tuple(
        (name, content)
        for name, content in chunks(data)
        if name in _COLOUR or (name in _TEXT and not content.startswith(_XMP))
    )


def is_text(chunk: Chunk) -> bool:
    """Whether a chunk is what somebody wrote, rather than part of how the picture looks."""
    return chunk[0] in _TEXT


def text_of(kept: tuple[Chunk, ...]) -> dict[str, str]:
    """Uncompressed Latin-1 texts by keyword."""
    pairs = (content.split(b"\0", 1) for name, content in kept if name == b"tEXt" and b"\0" in content)
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in pairs}


def xmp_chunk(xmp: bytes) -> Chunk:
    """XMP as the international text that readers look for."""
    return b"iTXt", _XMP + b"\0\0\0\0\0" + xmp


def profile_chunk(icc: bytes) -> Chunk:
    """A colour profile, compressed."""
    return b"iCCP", b"icc\0\0" + zlib.compress(icc)


def resolution_chunk(dpi: tuple[float, float]) -> Chunk:
    """Pixels per metre of dots per inch."""
    return b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in dpi), 1)


@dataclass(frozen=True)
class Header:
    """Sizes in pixels; `depth` is 8 or 16 bits a sample."""

    width: int
    height: int
    channels: int
    depth: int


def write_16bit(file: BinaryIO, samples: StoredSamples, extra: list[Chunk]) -> None:
    """(H, W) or (H, W, 1..4) as uint16, with `extra` chunks before the samples."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    write(file, Header(width, height, channels, 16), bands(samples), extra)


def bands(samples: StoredSamples) -> Iterator[StoredSamples]:
    """The samples, a few rows at a time."""
    return (samples[top : top + _BAND] for top in range(0, samples.shape[0], _BAND))


def write(file: BinaryIO, header: Header, rows: Iterable[StoredSamples], extra: list[Chunk]) -> None:
    """Bands of rows from the top, uint16 or uint8, after `extra` chunks."""
    kind = _COLOUR_TYPE[header.channels]
    fields = struct.pack(">IIBBBBB", header.width, header.height, header.depth, kind, 0, 0, 0)
    file.write(SIGNATURE)
    for chunk in chain([(b"IHDR", fields), *extra], _packed(header, rows), [(b"IEND", b"")]):
        _write_chunk(file, chunk)


def _write_chunk(file: BinaryIO, chunk: Chunk) -> None:
    name, content = chunk
    file.write(struct.pack(">I", len(content)) + name)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def _packed(header: Header, rows: Iterable[StoredSamples]) -> Iterator[Chunk]:
    """The samples, filtered and compressed, a band of rows at a time."""
    number, filtered = _FILTERS[header.depth]
    packer = _packer(header.depth)
    length = -(-header.width * header.channels * header.depth // 8)
    above = np.zeros((1, length), np.uint8)
    for band in rows:
        raw = _bytes(band, header.depth)
        lines = np.empty((len(raw), length + 1), np.uint8)
        lines[:, 0] = number
        lines[:, 1:] = filtered(raw, np.vstack([above, raw[:-1]]), header.channels * header.depth // 8)
        above = raw[-1:]
        content = packer.compress(lines.data)
        if content:
            yield b"IDAT", content
    yield b"IDAT", packer.flush()


def _packer(depth: int) -> "zlib._Compress":
    """Of 8 bits by runs alone: half the time of what searches further, for files as large of photographs."""
    if depth == 8:
        return zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return zlib.compressobj(4)


def _bytes(band: StoredSamples, depth: int) -> NDArray[np.uint8]:
    """Rows of bytes as they are in the file."""
    return np.ascontiguousarray(band, f">u{depth // 8}").view(np.uint8).reshape(len(band), -1)


def _average(raw: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Each byte less the mean of the one above and the one `step` bytes to the left (section 9.3)."""
    left = np.zeros_like(raw)
    left[:, step:] = raw[:, :-step]
    return raw - ((left & above) + ((left ^ above) >> 1))


def _paeth(raw: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Each byte less its best neighbour: left, above or left above, `step` bytes away (section 9.4)."""
    left, corner = (np.pad(a, ((0, 0), (step, 0)))[:, :-step].astype(np.int16) for a in (raw, above))
    up = above.astype(np.int16)
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    best = np.where(to_up <= to_corner, up, corner)
    best = np.where((to_left <= to_up) & (to_left <= to_corner), left, best)
    return raw - best.astype(np.uint8)


# By depth: the number of the filter and what it does.
_FILTERS = {8: (3, _average), 16: (4, _paeth)}
