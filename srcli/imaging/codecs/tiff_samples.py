"""The samples of a page of a TIFF: strips or tiles of any number of bits, in any order, without loss.

Source: TIFF 6.0, sections 3, 8, 9, 13, 14 and 15; Adobe Photoshop TIFF technical note 3 (predictor 3).
"""

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.codecs.base import UnsupportedImageError
from srcli.imaging.codecs.pillow import open_image
from srcli.storage.silence import silence_stderr

Bytes = NDArray[np.uint8]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER = 256, 257, 258, 259, 266
_STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = 1, 2, 3, 4
_SEPARATE = 2
_MOST_CHANNELS = 32
# Tiles of so many pixels are plausible for any picture, and so many bytes in addition to samples.
_SMALL_TILE, _STRIP_SLACK = 2**20, 2**16
# Compressions of bytes, which say nothing about samples. Those that Python lacks are left to libtiff.
_LZW, _LZMA, _ZSTD = 5, 34925, 50000
_BY_LIBTIFF = {_LZW: "LZW", 32773: "PackBits", _ZSTD: "Zstandard"}
COMPRESSIONS = (1, _LZW, 8, 32773, 32946, _LZMA, _ZSTD)
_REVERSED = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)


@dataclass(frozen=True)
class Layout:
    """The storage of a page: `height` x `width` pixels in strips or tiles of `rows` x `columns`."""

    height: int
    width: int
    channels: int
    bits: int
    kind: int
    order: Literal["<", ">"]
    compression: int
    predictor: int
    is_reversed: bool
    is_separate: bool
    is_tiled: bool
    rows: int
    columns: int

    @property
    def planes(self) -> int:
        """The number of planes that are stored one after the other."""
        return self.channels if self.is_separate else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the decoded samples."""
        if self.kind == _FLOAT:
            return np.dtype(f"f{self.bits // 8}")
        return np.dtype(f"u{next(size for size in (1, 2, 4, 8) if size * 8 >= self.bits)}")

    @property
    def is_packed(self) -> bool:
        """True if samples do not end with a byte."""
        return self.bits not in (8, 16, 32, 64)


def read_layout(tags: Mapping[int, Any], order: Literal["<", ">"], is_lab: bool) -> Layout:
    """Read the tags about storage; `order` is `<` or `>`; of L*a*b*, signed samples are allowed.

    Raises `UnsupportedImageError` for samples that are signed, complex or not of one kind.
    """
    width, height, channels = int(tags[_WIDTH]), int(tags[_HEIGHT]), int(tags.get(_CHANNELS, 1))
    bits, kinds = set(_as_tuple(tags.get(_BITS, 1))), set(_as_tuple(tags.get(_SAMPLE_FORMAT, _UNSIGNED)))
    if is_lab:
        kinds = {_UNSIGNED}
    if len(bits) > 1 or len(kinds) > 1:
        raise UnsupportedImageError("its channels are of different kinds", "convert it to 16 bits")
    (depth,), (kind,) = bits, kinds
    _check_kind(depth, kind, channels)
    is_tiled = _TILE_WIDTH in tags
    return Layout(
        height, width, channels, depth, kind, order,
        compression=int(tags.get(_COMPRESSION, 1)),
        predictor=int(tags.get(_PREDICTOR, 1)),
        is_reversed=tags.get(_FILL_ORDER, 1) == 2,
        is_separate=tags.get(_PLANAR, 1) == _SEPARATE and channels > 1,
        is_tiled=is_tiled,
        rows=int(tags[_TILE_HEIGHT]) if is_tiled else min(int(tags.get(_ROWS, height)), height),
        columns=int(tags[_TILE_WIDTH]) if is_tiled else width,
    )  # fmt: skip


def check_pieces(tags: Mapping[int, Any], layout: Layout) -> None:
    """Raise `ValueError` for strips or tiles that are out of proportion to the picture."""
    rows = min(layout.rows, layout.height) if not layout.is_tiled else layout.rows
    line = -(-layout.columns * (layout.channels // layout.planes) * layout.bits // 8)
    largest = max(_SMALL_TILE, 4 * layout.height * layout.width)
    if layout.is_tiled and layout.columns * layout.rows > largest:
        raise ValueError(f"its tiles of {layout.columns}x{layout.rows} are larger than the picture")
    stored = _as_tuple(tags.get(_TILE_BYTES if layout.is_tiled else _STRIP_BYTES, 0))
    # No compression makes data twice as large; what is longer unpacks to more than the picture.
    if max(stored, default=0) > 2 * line * rows + _STRIP_SLACK:
        raise ValueError(f"a strip or tile of {max(stored):,} bytes is too large for the picture")


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def _check_kind(bits: int, kind: int, channels: int) -> None:
    if kind == _SIGNED:
        raise UnsupportedImageError(
            f"its samples are signed integers (int{bits})", "convert it to unsigned integers or to float"
        )
    if kind not in (_UNSIGNED, _FLOAT, _UNDEFINED):
        raise UnsupportedImageError("its samples are complex numbers", "convert it to float")
    if kind == _FLOAT and bits not in (16, 32, 64):
        raise UnsupportedImageError(f"its samples are {bits}-bit floats", "convert it to 32-bit float")
    if kind != _FLOAT and bits > 16:
        raise UnsupportedImageError(
            f"its samples are {bits}-bit integers", "convert it to 16-bit integers or to float"
        )
    if channels > _MOST_CHANNELS:
        raise UnsupportedImageError(f"it has {channels} channels", "select three of them")


def decode_samples(file: BinaryIO, tags: Mapping[int, Any], layout: Layout) -> NDArray[Any]:
    """Decode (H, W, C) as stored, in the byte order of this machine.

    Raises `ValueError` for damaged data, `UnsupportedImageError` if the compression needs more than there is.
    """
    out = np.zeros((layout.height, layout.width, layout.channels), layout.dtype)
    places = (_TILES, _TILE_BYTES) if layout.is_tiled else (_STRIPS, _STRIP_BYTES)
    if not all(tag in tags for tag in places):
        raise ValueError("it does not say where its samples are")
    offsets, lengths = (_as_tuple(tags[tag]) for tag in places)
    pieces = list(_list_pieces(layout))
    if min(len(offsets), len(lengths)) < len(pieces):
        raise ValueError(f"it has {len(offsets)} strips or tiles, not {len(pieces)}")
    for (plane, top, left), at, length in zip(pieces, offsets, lengths, strict=False):
        if not length:
            continue  # sparse files leave out what is zero
        file.seek(at)
        data = file.read(length)
        if len(data) < length:
            raise ValueError("the file ends within its samples")
        rows = layout.rows if layout.is_tiled else min(layout.rows, layout.height - top)
        piece = _decode_piece(data, layout, rows)
        place = out[top : top + rows, left : left + layout.columns]
        if layout.is_separate:
            place[..., plane] = piece[: place.shape[0], : place.shape[1], 0]
        else:
            place[:] = piece[: place.shape[0], : place.shape[1]]
    return out


def _list_pieces(layout: Layout) -> Iterator[tuple[int, int, int]]:
    """Yield plane, top and left of each strip or tile in the order in which they are listed."""
    if layout.rows < 1 or layout.columns < 1:
        raise ValueError("its strips or tiles are empty")
    yield from product(
        range(layout.planes),
        range(0, layout.height, layout.rows),
        range(0, layout.width, layout.columns),
    )


def _decode_piece(data: bytes, layout: Layout, rows: int) -> NDArray[Any]:
    """Decode a strip or tile to (rows, columns, channels of a plane)."""
    channels = 1 if layout.is_separate else layout.channels
    line = -(-layout.columns * channels * layout.bits // 8)
    if layout.is_reversed:
        data = _REVERSED[np.frombuffer(data, np.uint8)].tobytes()
    plain = _decompress(data, layout.compression, line, rows)
    if len(plain) < line * rows:
        raise ValueError("a strip or tile is too short")
    lines = np.frombuffer(plain, np.uint8, line * rows).reshape(rows, line)
    shape = (rows, layout.columns, channels)
    if layout.predictor not in (1, 2, 3) or (layout.is_packed and layout.predictor != 1):
        raise UnsupportedImageError(
            f"predictor {layout.predictor} of {layout.bits}-bit samples", "save it again without a predictor"
        )
    if layout.is_packed:
        return _unpack(lines, layout.columns * channels, layout.bits).reshape(shape)
    if layout.predictor == 3:
        return _undo_float_differences(lines, layout, channels).reshape(shape)
    values = lines.view(layout.dtype.newbyteorder(layout.order)).reshape(shape)
    values = values.astype(layout.dtype, copy=False)
    if layout.predictor == 2:
        integers = values.view(f"u{values.itemsize}")
        return np.cumsum(integers, axis=1, dtype=integers.dtype).view(layout.dtype)
    return values


def _decompress(data: bytes, compression: int, line: int, rows: int) -> bytes:
    decoders: dict[int, Callable[[bytes], bytes]] = {
        1: bytes,
        8: partial(_inflate, length=line * rows),
        32946: partial(_inflate, length=line * rows),
        _LZMA: lambda data: lzma.LZMADecompressor().decompress(data, line * rows),
    }
    try:
        if compression in decoders:
            return decoders[compression](data)
        return _decompress_with_libtiff(data, compression, line, rows)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise ValueError(f"its samples cannot be decompressed: {error}") from error


def _inflate(data: bytes, length: int) -> bytes:
    """Decompress no more than `length` bytes, and what there is of them if the end is missing."""
    return zlib.decompressobj().decompress(data, length)


def _decompress_with_libtiff(data: bytes, compression: int, line: int, rows: int) -> bytes:
    """Decompress through Pillow's libtiff, as an 8-bit grey picture of the compressed bytes.

    Like this it can ignore no tag: all that is asked of it is to turn bytes into bytes.
    """
    from PIL import TiffImagePlugin

    entries = [
        (_WIDTH, line), (_HEIGHT, rows), (_BITS, 8), (_COMPRESSION, compression), (262, 1),
        (_STRIPS, 8), (_CHANNELS, 1), (_ROWS, rows), (_STRIP_BYTES, len(data)),
    ]  # fmt: skip
    at = 8 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<I", at) + data + bytes(len(data) % 2)
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    whole = head + struct.pack("<H", len(entries)) + directory + bytes(4)
    with open_image(io.BytesIO(whole), (TiffImagePlugin.TiffImageFile.format,)) as picture:
        try:
            with silence_stderr():
                return picture.tobytes()
        except OSError as error:
            if compression == _ZSTD and not _has_zstd():
                raise UnsupportedImageError(
                    "Pillow is built without Zstandard", "pip install --upgrade pillow"
                ) from error
            raise


def _has_zstd() -> bool:
    """Tell whether Pillow's libtiff compresses with Zstandard."""
    from PIL import Image

    try:
        Image.new("L", (1, 1)).save(io.BytesIO(), "TIFF", compression="zstd")
    except (OSError, RuntimeError, KeyError):
        return False
    return True


def _unpack(lines: Bytes, count: int, bits: int) -> NDArray[Any]:
    """Unpack `count` samples of 1 to 15 bits from each line, the first bit being the highest."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    out = np.zeros((len(lines), count), dtype)
    digits = np.unpackbits(lines, axis=1, count=count * bits).reshape(len(lines), count, bits)
    for k in range(bits):
        out = out << 1 | digits[..., k].astype(dtype)
    return out


def _undo_float_differences(lines: Bytes, layout: Layout, channels: int) -> NDArray[Any]:
    """Undo predictor 3: differences of bytes, with the highest bytes of all samples first."""
    rows, size = len(lines), layout.dtype.itemsize
    differences = lines.reshape(rows, -1, channels)
    planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(rows, size, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">f{size}").astype(layout.dtype)
