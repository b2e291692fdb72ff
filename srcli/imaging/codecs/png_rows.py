"""Rows of a PNG that is too large to be decoded as a whole: bands are decompressed and unfiltered in turn.

Source: the PNG specification, third edition, https://www.w3.org/TR/png-3/, sections 7 and 9.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.codecs.pillow import open_image
from srcli.imaging.codecs.png_chunks import SIGNATURE, Header, parse_header, write_chunk
from srcli.imaging.pixels import StoredSamples

Bytes = NDArray[np.uint8]

_BAND = 256
_BLOCK = 2**20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Pixels of 8 bits that have as many bytes as the filters look back.
_TYPE_OF_BYTES = {1: 0, 2: 4, 3: 2, 4: 6}


def read_window(path: Path, rows: slice, columns: slice) -> StoredSamples | None:
    """Return a part of a still PNG as (H, W) or (H, W, 2..4) uint8 or uint16, without holding the rest.

    Colours of a palette are looked up, a transparent colour is ignored. Returns None for layouts whose rows
    do not come in their order, or that have more than 32 bits per pixel.
    """
    with path.open("rb") as raw, mmap(raw.fileno(), 0, access=ACCESS_READ) as data:
        header = parse_header(data[:33])
        step = max(1, _CHANNELS.get(header.colour_type, 9) * header.depth // 8)
        if step not in _TYPE_OF_BYTES or header.rest != bytes(3):
            return None
        length = -(-header.width * _CHANNELS[header.colour_type] * header.depth // 8)
        parts, palette = [], _find_palette(data)
        for top, band in _unfilter(_inflate(data, (length + 1) * rows.stop), length, step):
            wanted = band[max(0, rows.start - top) : max(0, rows.stop - top)]
            if len(wanted):
                parts.append(_unpack(wanted, header, columns))
    samples = np.concatenate(parts)
    if header.colour_type == 3:
        return palette[np.minimum(samples, len(palette) - 1)] if len(palette) else None
    return samples


def _find_palette(data: mmap) -> Bytes:
    chunks = (data[at + 8 : at + 8 + length] for name, at, length in _list_chunks(data) if name == b"PLTE")
    return np.frombuffer(next(chunks, b""), np.uint8).reshape(-1, 3)


def _list_chunks(data: mmap) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the offset and the length of each chunk; contents are not read."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, length
        at += 12 + length


def _inflate(data: mmap, count: int) -> Iterator[bytes]:
    """Yield the first `count` bytes of the decompressed rows in blocks. Raises `ValueError` if some miss."""
    inflater = zlib.decompressobj()
    for name, at, length in _list_chunks(data):
        if name != b"IDAT":
            continue
        for start in range(at + 8, at + 8 + length, _BLOCK):
            block = data[start : min(start + _BLOCK, at + 8 + length)]
            while block and count:
                plain = inflater.decompress(block, min(count, _BLOCK))
                block = inflater.unconsumed_tail
                count -= len(plain)
                yield plain
            if not count:
                return
    raise ValueError("the file ends within its samples")


def _unfilter(blocks: Iterator[bytes], length: int, step: int) -> Iterator[tuple[int, Bytes]]:
    """Yield the number of the first row of each band, and its rows (n, length) as bytes."""
    top, held, above = 0, bytearray(), bytes(length)
    for block in blocks:
        held += block
        while len(held) >= _BAND * (length + 1):
            band = _decode_band(bytes(held[: _BAND * (length + 1)]), above, length, step)
            del held[: _BAND * (length + 1)]
            yield top, band
            top, above = top + _BAND, band[-1].tobytes()
    if len(held) >= length + 1:
        rows = len(held) // (length + 1)
        yield top, _decode_band(bytes(held[: rows * (length + 1)]), above, length, step)


def _decode_band(rows: bytes, above: bytes, length: int, step: int) -> Bytes:
    """Let Pillow undo the filters: rows become a PNG of their own, below the row above, which has none."""
    count = len(rows) // (length + 1) + 1
    file = io.BytesIO(SIGNATURE)
    file.seek(0, io.SEEK_END)
    header = struct.pack(">IIBBBBB", length // step, count, 8, _TYPE_OF_BYTES[step], 0, 0, 0)
    write_chunk(file, (b"IHDR", header))
    write_chunk(file, (b"IDAT", zlib.compress(b"\0" + above + rows, 0)))
    write_chunk(file, (b"IEND", b""))
    file.seek(0)
    with open_image(file, ("PNG",)) as picture:
        return np.asarray(picture).reshape(count, length)[1:]


def _unpack(rows: Bytes, header: Header, columns: slice) -> StoredSamples:
    """Return the columns of rows as samples of 8 or 16 bits; fewer bits of grey use the whole range."""
    channels = _CHANNELS[header.colour_type]
    if header.depth == 16:
        values = np.ascontiguousarray(rows).view(">u2").reshape(len(rows), -1, channels)
        samples: StoredSamples = values[:, columns].astype(np.uint16)
    elif header.depth == 8:
        samples = rows.reshape(len(rows), -1, channels)[:, columns]
    else:
        bits = np.unpackbits(rows, axis=1).reshape(len(rows), -1, header.depth)[:, columns]
        weights = 2 ** np.arange(header.depth - 1, -1, -1)
        top = 1 if header.has_palette else 2**header.depth - 1
        samples = ((bits * weights).sum(axis=2) * (1 if header.has_palette else 255) // top).astype(np.uint8)
    return samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else np.ascontiguousarray(samples)
