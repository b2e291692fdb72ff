"""TIFF where Pillow stops: deep and float samples, pages, and metadata at every depth.

Source: TIFF 6.0; Adobe Photoshop TIFF technical notes 3 (predictor); the BigTIFF design.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

from srcli.imaging.codecs import opencv
from srcli.imaging.metadata import exif as exif_block
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_DESCRIPTION = 270
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PREDICTOR = 273, 277, 278, 279, 317
_X_DPI, _Y_DPI, _UNIT, _EXTRA, _SAMPLE_FORMAT, _XMP, _ICC = 282, 283, 296, 338, 339, 700, 34675
_EXIF_POINTERS = (0x8769, 0x8825)
# How the samples lie in the file: of no use in another one.
_STRUCTURE = {*range(254, 267), *range(273, 282), 284, *range(288, 292), 317, 318, 319, 320, *range(322, 348),
              *range(512, 533), _X_DPI, _Y_DPI, _UNIT, _XMP, _ICC, 34377, 50838, 50839}  # fmt: skip
_UINT, _FLOAT = 1, 3
_ROWS_PER_STRIP = 256
_LARGEST_CLASSIC = 2**32 - 2**24


@dataclass(frozen=True)
class Page:
    """A full-size picture in a file; `index` counts all directories, reduced copies too."""

    index: int
    directory: Directory

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.directory[_WIDTH]), int(self.directory[_HEIGHT])

    @property
    def bits(self) -> int:
        """The most bits that a sample has."""
        return int(max(self.directory.get(_BITS, (1,))))

    @property
    def photometric(self) -> int:
        """What samples stand for, by the number that TIFF has for it."""
        return int(self.directory.get(_PHOTOMETRIC, 1))

    @property
    def colours(self) -> str:
        """As Pillow calls it."""
        kind = {2: "RGB", 3: "P", 5: "CMYK", 6: "RGB", 8: "LAB", 9: "LAB"}.get(self.photometric, "L")
        return kind + ("A" if _EXTRA in self.directory and kind in ("L", "RGB") else "")

    @property
    def is_float(self) -> bool:
        """Whether samples are floating-point numbers."""
        return _FLOAT in self.directory.get(_SAMPLE_FORMAT, (_UINT,))


def pages(path: Path) -> list[Page]:
    """The pages of a file, without the small copies that some programs put beside them."""
    with path.open("rb") as file:
        found = [Page(k, directory) for k, directory in enumerate(_directories(file))]
    whole = [page for page in found if not page.directory.get(_SUBFILE, 0) & 1]
    if not found:
        raise ValueError("it has no pages")
    return whole or found[:1]


def _directories(file: BinaryIO) -> Iterator[Directory]:
    head = _head(file)
    at, seen = int(Directory(head).next), set[int]()
    while at:
        if at in seen:
            raise ValueError("its pages form a circle")
        seen.add(at)
        file.seek(at)
        directory = Directory(head)
        directory.load(file)
        if _WIDTH not in directory or _HEIGHT not in directory:
            raise ValueError(f"page {len(seen)} has no size")
        yield directory
        at = int(directory.next)


def _as_read(value: Any) -> Any:
    """Text as its bytes: Pillow reads it as Latin-1, and would write what is not ASCII as question marks."""
    if isinstance(value, dict):
        return {tag: _as_read(inner) for tag, inner in value.items()}
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


def _head(file: BinaryIO) -> bytes:
    """Byte order, kind, and where the first page is described."""
    head = file.read(8)
    return head + (file.read(8) if b"+" in head[:4] else b"")


def metadata(path: Path, page: Page) -> tuple[Metadata, int]:
    """What a page says, and its orientation."""
    tags = page.directory
    icc, xmp = (tags.get(tag) for tag in (_ICC, _XMP))
    found = Metadata(
        icc=bytes(icc) if isinstance(icc, bytes) else None,
        exif=_exif(path) if page.index == 0 else None,
        xmp=bytes(xmp) if isinstance(xmp, bytes) else None,
        dpi=_dpi(tags),
    )
    return found, int(tags.get(274, 1))


def _dpi(tags: Directory) -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(int(tags.get(_UNIT, 2)))
    x, y = (float(tags.get(tag, 0)) for tag in (_X_DPI, _Y_DPI))
    return (x * per_inch, y * per_inch) if per_inch and x > 1 and y > 1 else None


def _exif(path: Path) -> bytes | None:
    """The tags of the first page that are not about how it is stored, as an EXIF block."""
    with path.open("rb") as file:
        head = _head(file)
        found = PilImage.Exif()
        found.endian, found.bigtiff = "<" if head[:2] == b"II" else ">", b"+" in head[:4]
        found.load_from_fp(file, int(Directory(head).next))
        for pointer in set(found) & set(_EXIF_POINTERS):
            found.get_ifd(pointer)
        if str(found.get(_DESCRIPTION, "")).startswith('{"shape"'):
            del found[_DESCRIPTION]  # tifffile's note of a shape that is no longer true
        for tag in set(found) & _STRUCTURE:
            del found[tag]
        for tag in found:
            found[tag] = _as_read(found[tag])
        found.bigtiff, found.endian = False, "<"
        return found.tobytes() if found else None


def read_deep(path: Path, page: Page) -> tuple[StoredSamples, bool]:
    """Samples of more than 8 bits, (H, W) or (H, W, C) as uint16 or float32; and whether they are upright.

    CMYK and L*a*b* come as they are stored, without alpha. Raises `ValueError` for what neither tifffile nor
    OpenCV can unpack.
    """
    import tifffile

    upright = False
    try:
        with tifffile.TiffFile(path) as file:
            values = _in_order(file.pages[page.index])
    except (tifffile.TiffFileError, LookupError, zlib.error, struct.error, TypeError) as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        if page.colours in ("CMYK", "LAB"):
            raise ValueError(f"16-bit {page.colours} in this compression can't be read") from error
        values, upright = _by_opencv(path, page), True
    if page.colours in ("CMYK", "LAB"):
        return _separate(values, page), upright
    return _straight(_bright(values, page), page), upright


def _separate(values: NDArray[Any], page: Page) -> StoredSamples:
    """Inks or L*a*b* as uint16, without what else there is of channels."""
    count = len("CMYK") if page.colours == "CMYK" else len("LAB")
    if page.bits != 16 or values.dtype.kind not in "ui" or values.ndim != 3:
        raise ValueError(f"its samples are {page.bits}-bit {page.colours}; convert it to 16 bits")
    if values.shape[2] < count:
        raise ValueError(f"its samples have {values.shape[2]} channels, not {count}")
    return np.ascontiguousarray(values[..., :count]).view(np.uint16)


def _in_order(page: Any) -> NDArray[Any]:
    """(H, W, C) whether the file has its channels side by side or one after the other."""
    values: NDArray[Any] = page.asarray()
    return np.moveaxis(values, 0, -1) if page.axes == "SYX" else values


def _by_opencv(path: Path, page: Page) -> StoredSamples:
    """LZW and others that tifffile has no codec for, upright; what OpenCV cannot hold comes with 8 bits."""
    found = opencv.decode_page(path, page.index)
    channels = int(page.directory.get(_CHANNELS, 1))
    if found.itemsize * 8 != page.bits or found.size != np.prod(page.size) * channels:
        raise ValueError(f"{page.bits}-bit samples in this compression can't be read")
    return found


def _bright(values: NDArray[Any], page: Page) -> StoredSamples:
    """With zero as black, as uint16 or float32."""
    if page.photometric not in (0, 1, 2):
        raise ValueError(f"{page.bits}-bit samples of this colour model (photometric {page.photometric})")
    if page.is_float:
        return np.asarray(values, np.float32)
    if values.dtype.kind != "u" or page.bits > 16:
        raise ValueError(f"its samples are {page.bits}-bit integers; convert it to 16 bits")
    top = 2**page.bits - 1
    full: NDArray[np.uint32] = (values.astype(np.uint32) * 65535 + top // 2) // top
    return (65535 - full if page.photometric == 0 else full).astype(np.uint16)


def _straight(values: StoredSamples, page: Page) -> StoredSamples:
    """Colours not multiplied by their alpha, and without channels that mean something else."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    colours = 3 if page.photometric == 2 else 1
    extra = page.directory.get(_EXTRA, (2,) if channels in (2, 4) else (0,))
    if channels == colours:
        return values
    if extra[0] not in (1, 2):
        return values[..., :colours] if colours > 1 else values[..., 0]
    values = values[..., : colours + 1]
    if extra[0] == 1:
        top = 1.0 if values.dtype.kind == "f" else 65535.0
        alpha = values[..., colours:].astype(np.float64) / top
        straight = np.where(alpha > 0, values[..., :colours] / np.maximum(alpha, 1e-6), 0)
        values = np.concatenate(
            [np.clip(straight, 0, top).round(0 if top > 1 else 7), values[..., colours:]], axis=2
        ).astype(values.dtype)
    return values


@dataclass(frozen=True)
class Sheet:
    """A page to be written: samples of `shape` (H, W) or (H, W, 2..4), whose rows come in bands from the top.

    `depth` in bits: 1, 8, 16, or 32 for float.
    """

    shape: tuple[int, ...]
    depth: int
    about: Metadata
    bands: Iterable[StoredSamples]

    @property
    def channels(self) -> int:
        """Of each pixel."""
        return 1 if len(self.shape) == 2 else self.shape[2]

    @property
    def size(self) -> int:
        """Bytes of its samples."""
        return math.prod(self.shape) * self.depth // 8


def write(file: BinaryIO, frames: Sequence[tuple[StoredSamples, int, Metadata]]) -> None:
    """`write_sheets` for samples that are there as a whole, each with its depth and metadata."""
    write_sheets(file, [Sheet(samples.shape, depth, about, [samples]) for samples, depth, about in frames])


def write_sheets(file: BinaryIO, sheets: Sequence[Sheet]) -> None:
    """Pages one after the other. A file that may pass 4 GB becomes a BigTIFF."""
    big = sum(sheet.size for sheet in sheets) > _LARGEST_CLASSIC
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    file.write(head)
    at = pointer = len(head)
    for number, sheet in enumerate(sheets):
        if number:
            file.seek(pointer)
            file.write(struct.pack("<Q" if big else "<I", at))
        count = _write_sheet(file, head, sheet, at)
        pointer = at + (8 + 20 * count if big else 2 + 12 * count)
        at = file.tell()
        if at % 2:
            file.write(b"\0")
            at += 1


def _write_sheet(file: BinaryIO, head: bytes, sheet: Sheet, at: int) -> int:
    """Directory and strips; how many entries the directory has, which is known in full only at the end."""
    file.seek(at)
    file.write(_directory(head, sheet, [0] * -(-sheet.shape[0] // _ROWS_PER_STRIP)).tobytes(at))
    lengths = [file.write(_packed(rows, sheet.depth)) for rows in _strips(sheet.bands)]
    end = file.tell()
    data = _directory(head, sheet, lengths).tobytes(at)
    file.seek(at)
    file.write(data)
    file.seek(end)
    return int(struct.unpack_from("<Q" if b"+" in head[:4] else "<H", data)[0])


def _strips(bands: Iterable[StoredSamples]) -> Iterator[StoredSamples]:
    """The same rows, as many at a time as a strip has."""
    held: list[StoredSamples] = []
    for band in bands:
        held.append(band)
        while sum(map(len, held)) >= _ROWS_PER_STRIP:
            rows = held[0] if len(held) == 1 else np.concatenate(held)
            yield rows[:_ROWS_PER_STRIP]
            held = [rows[_ROWS_PER_STRIP:]]
    rows = np.concatenate(held)
    if len(rows):
        yield rows


def _packed(rows: StoredSamples, depth: int) -> bytes:
    """Rows as bytes lie in the file, each less its left neighbour where that helps, compressed."""
    if depth == 1:
        return zlib.compress(np.packbits(rows > 0, axis=1).tobytes(), 4)
    if depth == 32:
        return zlib.compress(np.ascontiguousarray(rows, "<f4").data, 4)
    less = np.ascontiguousarray(rows, f"<u{depth // 8}").copy()
    less[:, 1:] -= rows[:, :-1]
    if depth == 16:
        return zlib.compress(less.data, 4)
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)  # as for PNG
    return packer.compress(less.data) + packer.flush()


def _directory(head: bytes, sheet: Sheet, lengths: list[int]) -> Directory:
    height, width = sheet.shape[:2]
    depth, channels = sheet.depth, sheet.channels
    tags = _kept_tags(Directory(head), sheet.about)
    kind = _FLOAT if depth == 32 else _UINT
    numbers = {
        _WIDTH: width, _HEIGHT: height, _BITS: (depth,) * channels, _COMPRESSION: 8,
        _PHOTOMETRIC: 2 if channels > 2 else 1, _CHANNELS: channels, _ROWS: _ROWS_PER_STRIP,
        _PREDICTOR: 2 if depth in (8, 16) else 1, _SAMPLE_FORMAT: (kind,) * channels,
    }  # fmt: skip
    for tag, value in numbers.items():
        tags[tag] = value
    if channels in (2, 4):
        tags[_EXTRA] = 2
    offsets = [sum(lengths[:k]) for k in range(len(lengths))]
    for tag, values in ((_STRIPS, offsets), (_STRIP_BYTES, lengths)):
        tags.tagtype[tag] = 16 if b"+" in head[:4] else 4
        tags[tag] = tuple(values)
    return tags


def _kept_tags(tags: Directory, about: Metadata) -> Directory:
    """EXIF, profile, XMP and resolution put into a directory."""
    if about.exif:
        found = PilImage.Exif()
        found.load(exif_block.add_prefix(about.exif))
        inner = {pointer: found.get_ifd(pointer) for pointer in set(found) & set(_EXIF_POINTERS)}
        for tag, value in (dict(found) | {k: v for k, v in inner.items() if v}).items():
            if tag not in _STRUCTURE:
                tags[tag] = _as_read(value)
    for tag, content in ((_ICC, about.icc), (_XMP, about.xmp)):
        if content:
            tags.tagtype[tag] = 7 if tag == _ICC else 1
            tags[tag] = content
    if about.dpi:
        tags[_X_DPI], tags[_Y_DPI], tags[_UNIT] = about.dpi[0], about.dpi[1], 2
    return tags
