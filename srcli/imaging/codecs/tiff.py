"""TIFF: pages of any depth. Pillow reads what it reads right; the rest is unpacked here or by imagecodecs.

Source: TIFF 6.0; Adobe Photoshop TIFF technical notes 3 (predictor); the BigTIFF design.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from io import FileIO
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging import colorspace
from srcli.imaging.codecs import opencv
from srcli.imaging.codecs.base import (
    BandedImage,
    Codec,
    EncodingOptions,
    Extent,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_finite,
    check_pixel_count,
    read_head,
)
from srcli.imaging.codecs.orientation import turn_upright
from srcli.imaging.codecs.pillow import (
    check_ink_profile,
    convert_inks,
    open_image,
    read_8bit,
)
from srcli.imaging.codecs.tiff_samples import COMPRESSIONS, Layout, check_pieces, decode_samples, read_layout
from srcli.imaging.metadata import exif as exif_block
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples, white_level
from srcli.storage.silence import silence_stderr

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Directory

_DESCRIPTION, _ORIENTATION = 270, 274
_ICC_LAB = 9  # L*a*b* with an offset for a and b (photometric interpretation)
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _CHANNELS, _ROWS, _STRIP_BYTES, _PREDICTOR = 273, 277, 278, 279, 317
_X_DPI, _Y_DPI, _UNIT, _EXTRA, _SAMPLE_FORMAT, _XMP, _ICC = 282, 283, 296, 338, 339, 700, 34675
_PLANAR, _DOT_RANGE, _INK_SET, _COLOUR_MAP = 284, 336, 332, 320
_REDUCED, _MASK = 1, 4
_STRAIGHT_ALPHA = 2
_RGB, _PALETTE, _YCC = 2, 3, 6
_MODELS = (0, 1, _RGB, _PALETTE, 5, _YCC, 8, _ICC_LAB)
_OTHER_MODELS = {
    10: "ITU L*a*b*", 32803: "the mosaic of a camera's sensor", 32844: "LogL", 32845: "LogLuv",
    34892: "linear camera raw",
}  # fmt: skip
# None, CCITT, LZW, JPEG, Deflate, PackBits, LZMA and Zstandard.
_BY_PILLOW = (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000)
_EXIF_POINTERS = (0x8769, 0x8825)
# Tags about how samples are stored, which say nothing about another file.
_STRUCTURE = {*range(254, 267), *range(273, 282), 284, *range(288, 292), 317, 318, 319, 320, *range(322, 348),
              *range(512, 533), _X_DPI, _Y_DPI, _UNIT, _XMP, _ICC, 34377, 50838, 50839}  # fmt: skip
_UINT, _FLOAT = 1, 3
_ROWS_PER_STRIP = 256
_LARGEST_CLASSIC = 2**32 - 2**24


class TiffCodec(Codec):
    """TIFF and BigTIFF."""

    def describe(self, path: Path) -> ImageInfo:
        """Read the directories of all pages, and the metadata of the first."""
        pages = read_pages(path)
        first = pages[0]
        mode, depth = ("float", 32) if first.is_float else (first.mode, first.bits)
        metadata, _ = _read_metadata(path, first)
        return ImageInfo(self.name, first.size, mode, depth, metadata, len(pages))

    def measure(self, path: Path) -> Extent:
        """Add up the pages."""
        sizes = [page.size for page in read_pages(path)]
        largest = max(sizes, key=math.prod)
        return Extent(len(sizes), largest, sum(map(math.prod, sizes)))

    def list_sizes(self, path: Path) -> set[tuple[int, int]]:
        """Return the sizes of the pages."""
        return {page.size for page in read_pages(path)}

    def read_timing(self, path: Path) -> FrameTiming:
        """Count the pages."""
        return FrameTiming(len(read_pages(path)))

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the pages, turned upright."""
        for page in read_pages(path):
            check_pixel_count(path, page.size, max_pixels)
            metadata, orientation = _read_metadata(path, page)
            frame, is_upright = _read_page(path, page, metadata)
            yield turn_upright(frame, orientation, is_upright)

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode frames as pages."""
        pages = (BandedImage(f.samples.shape, f.depth, iter([f.samples]), f.metadata) for f in frames)
        _write_pages(file, pages, timing.count)

    def write_rows(self, file: BinaryIO, image: BandedImage, encoding: EncodingOptions) -> None:
        """Encode one page band by band."""
        _write_pages(file, iter([image]), 1)


@dataclass(frozen=True)
class Page:
    """A full-size picture in a file; `index` counts all directories, reduced copies too; `at` is in bytes."""

    index: int
    at: int
    directory: "Directory"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self.directory[_WIDTH]), int(self.directory[_HEIGHT])

    @property
    def bits(self) -> int:
        """The bits of a sample, of the deepest channel."""
        return int(max(self.directory.get(_BITS, (1,))))

    @property
    def compression(self) -> int:
        """The number TIFF has for the compression."""
        return int(self.directory.get(_COMPRESSION, 1))

    @property
    def photometric(self) -> int:
        """The number TIFF has for the colour model."""
        return int(self.directory.get(_PHOTOMETRIC, 1))

    @property
    def mode(self) -> str:
        """The colour model as Pillow calls it."""
        kind = {2: "RGB", 3: "P", 5: "CMYK", 6: "RGB", 8: "LAB", 9: "LAB"}.get(self.photometric, "L")
        return kind + ("A" if _EXTRA in self.directory and kind in ("L", "RGB") else "")

    @property
    def is_float(self) -> bool:
        """True if samples are floating-point numbers."""
        return _FLOAT in self.directory.get(_SAMPLE_FORMAT, (_UINT,))


def _make_directory(head: bytes) -> "Directory":
    """Return an empty directory of a file that starts with `head`."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    return ImageFileDirectory_v2(head)


def read_pages(path: Path) -> list[Page]:
    """Read the directories of a file, without those of reduced copies and of masks."""
    with path.open("rb") as file:
        pages = [Page(k, at, directory) for k, (at, directory) in enumerate(_read_directories(file))]
    full_size = [page for page in pages if not page.directory.get(_SUBFILE, 0) & (_REDUCED | _MASK)]
    if not pages:
        raise ValueError("it has no pages")
    return full_size or pages[:1]


def _read_directories(file: BinaryIO) -> Iterator[tuple[int, "Directory"]]:
    """Yield the offset and the content of each directory."""
    head = _read_file_header(file)
    at, seen = int(_make_directory(head).next), set[int]()
    while at:
        if at in seen:
            raise ValueError("its pages form a loop")
        seen.add(at)
        file.seek(at)
        directory = _make_directory(head)
        directory.load(file)
        if _WIDTH not in directory or _HEIGHT not in directory:
            raise ValueError(f"page {len(seen)} has no size")
        yield at, directory
        at = int(directory.next)


class _PageFile(FileIO):
    """A file whose header names the directory at `at` as the first: Pillow reads all before a later page."""

    def __init__(self, path: Path, at: int) -> None:
        super().__init__(path, "rb")
        head = super().read(16)
        big = b"+" in head[:4]
        order = "<" if head[:2] == b"II" else ">"
        self._head = (
            head[:8] + struct.pack(order + "Q", at) if big else head[:4] + struct.pack(order + "I", at)
        )
        self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes, with the other offset in place of those of the header."""
        at, data = self.tell(), super().read(size) or b""
        return self._head[at : at + len(data)] + data[max(0, len(self._head) - at) :]


class _Latin1(str):
    """A text that Pillow writes as the bytes it was read from, where it would write `?` for all but ASCII."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:
        """Return a byte for each character."""
        return super().encode("latin-1", "replace")


def _preserve_texts(value: Any) -> Any:
    """Return a value of a tag, or a directory of them, with texts that are written as they were."""
    if isinstance(value, dict):
        return {tag: _preserve_texts(inner) for tag, inner in value.items()}
    return _Latin1(value) if isinstance(value, str) else value


def _read_file_header(file: BinaryIO) -> bytes:
    """Read the byte order, the kind, and the offset of the first directory."""
    head = file.read(8)
    return head + (file.read(8) if b"+" in head[:4] else b"")


def _read_metadata(path: Path, page: Page) -> tuple[Metadata, int]:
    """Return the metadata of a page, and its orientation."""
    tags = page.directory
    icc, xmp = (tags.get(tag) for tag in (_ICC, _XMP))
    metadata = Metadata(
        icc=bytes(icc) if isinstance(icc, bytes) else None,
        exif=_read_exif(path) if page.index == 0 else None,
        xmp=bytes(xmp) if isinstance(xmp, bytes) else None,
        dpi=_read_dpi(tags),
    )
    return metadata, int(tags.get(_ORIENTATION, 1))


def _read_dpi(tags: "Directory") -> tuple[float, float] | None:
    per_inch = {2: 1.0, 3: 2.54}.get(int(tags.get(_UNIT, 2)))
    x, y = (float(tags.get(tag, 0)) for tag in (_X_DPI, _Y_DPI))
    return (x * per_inch, y * per_inch) if per_inch and x > 1 and y > 1 else None


def _read_exif(path: Path) -> bytes | None:
    """Return the tags of the first page as an EXIF block, without those about how it is stored."""
    from PIL import Image

    with path.open("rb") as file:
        head = _read_file_header(file)
        exif = Image.Exif()
        exif.endian, exif.bigtiff = "<" if head[:2] == b"II" else ">", b"+" in head[:4]
        exif.load_from_fp(file, int(_make_directory(head).next))
        for pointer in set(exif) & set(_EXIF_POINTERS):
            exif.get_ifd(pointer)
        if str(exif.get(_DESCRIPTION, "")).startswith('{"shape"'):
            del exif[_DESCRIPTION]  # tifffile's note of a shape that is no longer true
        for tag in set(exif) & _STRUCTURE:
            del exif[tag]
        for tag in exif:
            exif[tag] = _preserve_texts(exif[tag])
        for pointer in set(exif) & set(_EXIF_POINTERS):
            inner = exif.get_ifd(pointer)
            inner.update(_preserve_texts(inner))
        exif.bigtiff, exif.endian = False, "<"
        return exif.tobytes() if exif else None


def _read_page(path: Path, page: Page, metadata: Metadata) -> tuple[Frame, bool]:
    """Decode a page, and tell whether it is upright.

    Raises `UnsupportedImageError` for what no decoder reads as it is meant.
    """
    layout = read_layout(page.directory, _read_byte_order(path), is_lab=page.mode == "LAB")
    check_pieces(page.directory, layout)
    _check_colours(page)
    if page.photometric == _YCC and page.compression == 1:
        return Frame(opencv.decode_page(path, page.index), 8, metadata), True
    if page.bits <= 8 and page.compression in _BY_PILLOW and not _is_misread_by_pillow(page):
        frame = _read_with_pillow(path, page, metadata)
        if frame:
            return frame, True
    return _unpack_page(path, page, layout, metadata), False


def _read_byte_order(path: Path) -> Literal["<", ">"]:
    return "<" if read_head(path, 2) == b"II" else ">"


def _check_colours(page: Page) -> None:
    """Raise `UnsupportedImageError` for colour models of which no picture would come out right."""
    tags = page.directory
    if page.photometric not in _MODELS:
        name = _OTHER_MODELS.get(page.photometric, f"photometric interpretation {page.photometric}")
        raise UnsupportedImageError(f"its colours are {name}", "convert it to RGB")
    if page.mode != "CMYK":
        return
    ends = tuple(tags.get(_DOT_RANGE, ()))
    if tags.get(_INK_SET, 1) != 1 or ends[:2] not in ((), (0, 2**page.bits - 1)):
        raise UnsupportedImageError("its inks are not plain CMYK", "convert it to RGB")


def _is_misread_by_pillow(page: Page) -> bool:
    """Tell whether Pillow would refuse a page of up to 8 bits or, silently, get it wrong."""
    tags = page.directory
    channels, is_separate = int(tags.get(_CHANNELS, 1)), tags.get(_PLANAR, 1) == 2
    is_premultiplied = tags.get(_EXTRA, (0,))[:1] == (1,)
    # Grey with alpha in planes of their own comes out as noise; premultiplied grey, and planes that are
    # premultiplied or spare, not at all.
    is_odd = channels == 2 or channels > 4 or (is_separate and is_premultiplied)
    return _has_8bit_palette(page) or (is_odd and page.compression in COMPRESSIONS)


def _has_8bit_palette(page: Page) -> bool:
    """Tell whether a palette has values of 8 bits, which old writers stored in place of 16."""
    return page.photometric == _PALETTE and max(page.directory.get(_COLOUR_MAP, (65535,))) < 256


def _read_with_pillow(path: Path, page: Page, metadata: Metadata) -> Frame | None:
    """Decode a page of up to 8 bits, which Pillow turns upright; None if Pillow does not know its layout."""
    from PIL import TiffImagePlugin, UnidentifiedImageError

    # Not by its name: Pillow 13 maps such files into memory, and garbles them when it turns them.
    with _PageFile(path, page.at) as raw:
        try:
            file = open_image(raw, (TiffImagePlugin.TiffImageFile.format,))
        except (UnidentifiedImageError, SyntaxError):
            return None
        with file, silence_stderr():
            return read_8bit(file, metadata)


def _unpack_page(path: Path, page: Page, layout: Layout, metadata: Metadata) -> Frame:
    """Decode a page as uint8, uint16 or float32. CMYK and L*a*b* become sRGB."""
    from PIL import Image

    if page.compression in COMPRESSIONS and page.photometric != _YCC:
        with path.open("rb") as file:
            values = decode_samples(file, page.directory, layout)
    else:
        values = _decode_with_imagecodecs(path, page)
    if page.mode == "CMYK" and page.bits == 8:
        return convert_inks(Image.fromarray(values[..., :4].copy(), "CMYK"), metadata)
    if page.mode in ("CMYK", "LAB"):
        icc, notes = check_ink_profile(metadata.icc) if page.mode == "CMYK" else (None, ())
        samples = _to_srgb(_select_inks(values, page), page, icc)
        if page.bits == 8:
            samples = (samples // 257).astype(np.uint8)
        depth = 8 if page.bits == 8 else 16
        return Frame(samples, depth, replace(metadata, icc=colorspace.make_srgb_profile()), notes)
    if page.photometric == _PALETTE:
        return Frame(_look_up(values, page), 8, metadata)
    samples = _divide_by_alpha(_normalise(values, page), page)
    if page.is_float:
        return Frame(check_finite(samples), 32, metadata)
    return Frame(samples, 16 if page.bits > 8 else 8, metadata)


def _decode_with_imagecodecs(path: Path, page: Page) -> NDArray[Any]:
    """Decode (H, W, C) through tifffile, which finds the codec in imagecodecs."""
    import tifffile

    if find_spec("imagecodecs") is None:
        raise UnsupportedImageError(
            f"its compression ({_name_compression(page)}) needs imagecodecs", "pip install 'sr-cli[codecs]'"
        )
    try:
        with tifffile.TiffFile(path) as file:
            stored: Any = file.pages[page.index]
            values: NDArray[Any] = stored.asarray()
            values = np.moveaxis(values, 0, -1) if stored.axes == "SYX" else values
    except (tifffile.TiffFileError, LookupError, zlib.error, struct.error, TypeError) as error:
        raise ValueError(str(error)) from error
    except ImportError as error:
        raise UnsupportedImageError(
            f"imagecodecs cannot decode {_name_compression(page)}", "convert it to another compression"
        ) from error
    return values if values.ndim == 3 else values[..., None]


def _name_compression(page: Page) -> str:
    import tifffile

    try:
        return tifffile.COMPRESSION(page.compression).name.replace("_", " ")
    except ValueError:
        return str(page.compression)


def _to_srgb(samples: StoredSamples, page: Page, icc: bytes | None) -> StoredSamples:
    if page.mode == "CMYK":
        return colorspace.cmyk_to_srgb(samples, icc)
    return colorspace.lab_to_srgb(samples, is_icc=page.photometric == _ICC_LAB)


def _select_inks(values: NDArray[Any], page: Page) -> StoredSamples:
    """Return CMYK or L*a*b* as uint16, without further channels."""
    count = len("CMYK") if page.mode == "CMYK" else len("LAB")
    if page.bits == 8 and page.photometric == _ICC_LAB and values.shape[2] >= count:
        return values[..., :count].astype(np.uint16) << 8
    if page.bits != 16 or values.dtype.kind not in "ui":
        raise UnsupportedImageError(f"its samples are {page.bits}-bit {page.mode}", "convert it to 16 bits")
    if values.shape[2] < count:
        raise ValueError(f"its samples have {values.shape[2]} channels, not {count}")
    return np.ascontiguousarray(values[..., :count]).view(np.uint16)


def _look_up(values: NDArray[Any], page: Page) -> StoredSamples:
    """Return the 8-bit RGB that indices stand for, with the alpha beside them.

    Raises `ValueError` for a palette that is too short.
    """
    colours = np.array(page.directory.get(_COLOUR_MAP, ())).reshape(3, -1)
    if colours.shape[1] < 2**page.bits:
        raise ValueError("its palette is too short")
    palette = colours if _has_8bit_palette(page) else colours >> 8
    samples = np.ascontiguousarray(palette.T.astype(np.uint8)[values[..., 0]])
    if values.shape[2] > 1 and page.directory.get(_EXTRA, (0,))[0] == _STRAIGHT_ALPHA and page.bits == 8:
        return np.concatenate([samples, values[..., 1:2]], axis=2)
    return samples


def _normalise(values: NDArray[Any], page: Page) -> StoredSamples:
    """Return (H, W, C) uint8, uint16 or float32 with 0 as black."""
    if page.is_float:
        return np.asarray(values, np.float32)
    dtype, white = (np.uint8, 255) if page.bits <= 8 else (np.uint16, 65535)
    top = 2**page.bits - 1
    full = values
    if top != white:
        full = (values.astype(np.uint32) * white + top // 2) // top
    if page.photometric == 0:
        full = np.concatenate([white - full[..., :1], full[..., 1:]], axis=2)
    return full.astype(dtype, copy=False)


def _divide_by_alpha(values: StoredSamples, page: Page) -> StoredSamples:
    """Return colours that are not multiplied by alpha, without channels that mean something else."""
    channels = values.shape[2]
    colours = 3 if page.photometric in (_RGB, _YCC) else 1
    extra = page.directory.get(_EXTRA, (2,) if channels in (2, 4) else (0,))
    if channels < colours:
        raise ValueError(f"its samples have {channels} channels, not {colours}")
    if channels == colours or extra[0] not in (1, 2):
        return values[..., :colours] if colours > 1 else values[..., 0]
    values = values[..., : colours + 1]
    if extra[0] == 1:
        top = white_level(values)
        alpha = values[..., colours:].astype(np.float64) / top
        straight = np.where(alpha > 0, values[..., :colours] / np.maximum(alpha, 1e-6), 0)
        values = np.concatenate(
            [np.clip(straight, 0, top).round(0 if top > 1 else 7), values[..., colours:]], axis=2
        ).astype(values.dtype)
    return values


def _write_pages(file: BinaryIO, pages: Iterator[BandedImage], count: int) -> None:
    """Write pages one after the other. A file that may pass 4 GB, by its first page, becomes a BigTIFF."""
    first = next(pages)
    big = count * math.prod(first.shape) * first.depth // 8 > _LARGEST_CLASSIC
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    file.write(head)
    at = pointer = len(head)
    for number, page in enumerate(chain([first], pages)):
        if number:
            file.seek(pointer)
            file.write(struct.pack("<Q" if big else "<I", at))
        entries = _write_page(file, head, page, at)
        pointer = at + (8 + 20 * entries if big else 2 + 12 * entries)
        at = file.tell()
        if at % 2:
            file.write(b"\0")
            at += 1


def _write_page(file: BinaryIO, head: bytes, page: BandedImage, at: int) -> int:
    """Write a directory and its strips; return how many entries the directory has.

    It is written twice, since the lengths of the strips are known only at the end.
    """
    file.seek(at)
    file.write(_fill_directory(head, page, [0] * -(-page.shape[0] // _ROWS_PER_STRIP)).tobytes(at))
    lengths = [file.write(_compress(rows, page.depth)) for rows in _split_into_strips(page.bands)]
    end = file.tell()
    data = _fill_directory(head, page, lengths).tobytes(at)
    file.seek(at)
    file.write(data)
    file.seek(end)
    return int(struct.unpack_from("<Q" if b"+" in head[:4] else "<H", data)[0])


def _split_into_strips(bands: Iterable[StoredSamples]) -> Iterator[StoredSamples]:
    """Yield the rows of bands, as many at a time as a strip has."""
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


def _compress(rows: StoredSamples, depth: int) -> bytes:
    """Compress rows; integers as differences from their left neighbours (predictor 2)."""
    if depth == 1:
        return zlib.compress(np.packbits(rows > 0, axis=1).tobytes(), 4)
    if depth == 32:
        return zlib.compress(np.ascontiguousarray(rows, "<f4").data, 4)
    differences = np.ascontiguousarray(rows, f"<u{depth // 8}").copy()
    differences[:, 1:] -= rows[:, :-1]
    if depth == 16:
        return zlib.compress(differences.data, 4)
    compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)  # as for PNG
    return compressor.compress(differences.data) + compressor.flush()


def _fill_directory(head: bytes, page: BandedImage, lengths: list[int]) -> "Directory":
    """Return the directory of a page whose strips have these lengths in bytes."""
    height, width = page.shape[:2]
    depth, channels = page.depth, page.channels
    tags = _add_metadata(_make_directory(head), page.metadata)
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
    offsets = list(accumulate(lengths, initial=0))[:-1]
    for tag, values in ((_STRIPS, offsets), (_STRIP_BYTES, lengths)):
        tags.tagtype[tag] = 16 if b"+" in head[:4] else 4
        tags[tag] = tuple(values)
    return tags


def _add_metadata(tags: "Directory", metadata: Metadata) -> "Directory":
    """Put EXIF, profile, XMP and resolution into a directory."""
    from PIL import Image

    if metadata.exif:
        exif = Image.Exif()
        exif.load(exif_block.add_prefix(metadata.exif))
        inner = {pointer: exif.get_ifd(pointer) for pointer in set(exif) & set(_EXIF_POINTERS)}
        for tag, value in (dict(exif) | {k: v for k, v in inner.items() if v}).items():
            if tag not in _STRUCTURE:
                tags[tag] = _preserve_texts(value)
    for tag, content in ((_ICC, metadata.icc), (_XMP, metadata.xmp)):
        if content:
            tags.tagtype[tag] = 7 if tag == _ICC else 1
            tags[tag] = content
    if metadata.dpi:
        tags[_X_DPI], tags[_Y_DPI], tags[_UNIT] = metadata.dpi[0], metadata.dpi[1], 2
    return tags


CODEC = TiffCodec(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    signatures=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    depths=(1, 8, 16, 32),
    channels=(1, 2, 3, 4),
    frame_kind="pages",
    mixed_frames=True,
    metadata_kinds=("icc", "exif", "xmp", "dpi"),
    streams=True,
    read_depths=(2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15),
)
