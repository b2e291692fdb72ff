"""Files to samples: every frame upright, at its own depth, with what the file says beside it."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, ImageCms, UnidentifiedImageError
from PIL import Image as PilImage

from srcli.errors import ImageError
from srcli.imaging import colorspace
from srcli.imaging.codecs import exr, opencv, png, tiff
from srcli.imaging.codecs.base import Frame, FrameTiming, ImageInfo
from srcli.imaging.codecs.registry import SUFFIXES
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata, scale_metadata
from srcli.imaging.pixels import StoredSamples

# An image with more is refused: a few bytes can claim to be a picture that fills any memory.
MAX_PIXELS = 2**29
PilImage.MAX_IMAGE_PIXELS = None  # its limit knows nothing of ours

# What turns stored samples upright, by the EXIF orientation tag.
_UPRIGHT: dict[int, Callable[[StoredSamples], StoredSamples]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
_TURNED = (5, 6, 7, 8)
_FRAMED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF", "HEIF")
_FLOAT_NAMES = {b"P": "PFM", exr.SIGNATURE[:1]: "EXR"}
_BAND = 256
_PLAIN = ("1", "L", "LA", "RGB", "RGBA")


def check_readable(path: Path) -> None:
    """Raise `ImageError` where there is no file that could be opened."""
    try:
        if not path.exists():
            raise ImageError(f"{path} does not exist", "check the path")
        if path.is_dir():
            raise ImageError(f"{path} is a folder", "name an image file")
        if not path.is_file():
            raise ImageError(f"{path} is no ordinary file", "name an image file, or - for stdin")
        if not os.access(path, os.R_OK):
            raise ImageError(f"{path} may not be read", "change its permissions")
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes)", "copy or download the file again")
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}", "check the path") from error


def read_timing(path: Path) -> FrameTiming:
    """How many frames a file has and how long each is shown. Raises `ImageError` for anything damaged."""
    check_readable(path)
    with _faults(path):
        if _is_tiff(path):
            return FrameTiming(len(tiff.pages(path)))
        if _is_float(path):
            return FrameTiming()
        with PilImage.open(path) as file:
            return _timing(file)


def read_info(path: Path) -> ImageInfo:
    """What a file is; little of it is decoded. Raises `ImageError` for anything that is no image."""
    check_readable(path)
    with _faults(path):
        if _is_tiff(path):
            whole = tiff.pages(path)
            kind = "float" if whole[0].is_float else whole[0].colours
            depth = 32 if whole[0].is_float else whole[0].bits
            found, _ = tiff.metadata(path, whole[0])
            return ImageInfo("TIFF", whole[0].size, kind, depth, found, len(whole))
        if _is_float(path):
            name = _FLOAT_NAMES.get(_start(path, 1), "HDR")
            return ImageInfo(name, _float_size(path), "float", 32, Metadata())
        with PilImage.open(path) as file:
            frames = int(getattr(file, "n_frames", 1)) if file.format in _FRAMED else 1
            depth = 16 if _is_deep(file, path) else 1 if file.mode == "1" else 8
            kind = file.mode.split(";")[0]
            return ImageInfo(
                file.format or "",
                file.size,
                "L" if kind == "I" else kind,
                depth,
                _metadata(file, path),
                frames,
                _jpeg_quality(getattr(file, "quantization", {})),
            )


# The luma quantisation table for quality 50 (ITU-T T.81, table K.1).
_LUMA_TABLE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def _jpeg_quality(tables: dict[int, list[int]]) -> int | None:
    """1 to 100 as the Independent JPEG Group scales tables; None where there are none."""
    if not tables:
        return None
    total = sum(tables[min(tables)])
    return min(range(1, 101), key=lambda quality: abs(_table_sum(quality) - total))


def _table_sum(quality: int) -> int:
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(255, max(1, (value * percent + 50) // 100)) for value in _LUMA_TABLE)


def read_frames(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The frames of a file, one at a time. Raises `ImageError` for anything that is not a whole image."""
    check_readable(path)
    with _faults(path):
        if _is_tiff(path):
            yield from _tiff_frames(path, max_pixels)
        elif _is_float(path):
            yield _float_frame(path, max_pixels)
        else:
            yield from _pillow_frames(path, max_pixels)


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """What readers raise for damaged data, as `ImageError`."""
    _register_heif(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but readable metadata
            yield
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image", f"readable: {' '.join(SUFFIXES)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError) as error:
        raise _damaged(path, error) from error
    except (RuntimeError, AttributeError, AssertionError) as error:
        # AVIF's decoder raises RuntimeError, Pillow's TIFF reader the others on absurd tags.
        raise _damaged(path, error) from error
    except Exception as error:
        # struct.error, zlib.error and ImageCms.PyCMSError have no parent in common.
        if type(error).__module__.split(".")[0] not in ("struct", "zlib", "PIL"):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ImageError:
    reason = (str(error) or type(error).__name__).splitlines()[0].replace(str(path), "the file")
    return ImageError(f"{path} is damaged: {reason}", "copy or download the file again")


def _register_heif(path: Path) -> None:
    if path.suffix.lower() not in (".heic", ".heif"):
        return
    if find_spec("pillow_heif") is None:
        raise ImageError(f"reading {path} needs pillow-heif", "pip install 'sr-cli[heif]'")
    import pillow_heif

    pillow_heif.register_heif_opener()


def _start(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def _is_tiff(path: Path) -> bool:
    return _start(path, 4) in tiff.SIGNATURES


def _is_float(path: Path) -> bool:
    start = _start(path, 4)
    if start == exr.SIGNATURE:
        exr.check(path)
    return start.startswith((b"#?", b"PF\n", b"Pf\n", exr.SIGNATURE))


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f"its size is {width}x{height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{path} claims to have {width}x{height} pixels, more than the {max_pixels:,} allowed",
            "give --max-pixels if that is right",
        )


def _oriented(stored: Frame, orientation: int, upright: bool = False) -> Frame:
    """Samples turned upright, unless they are already, and metadata that says so."""
    turn = _UPRIGHT.get(orientation)
    if turn is None:
        return stored
    samples = stored.samples if upright else np.ascontiguousarray(turn(stored.samples))
    about, size = stored.metadata, (samples.shape[1], samples.shape[0])
    if about.dpi and orientation in _TURNED:
        about = replace(about, dpi=about.dpi[::-1])
    return replace(stored, samples=samples, metadata=scale_metadata(about, size, size))


# Radiance HDR and PFM, by OpenCV; OpenEXR


def _float_frame(path: Path, max_pixels: int) -> Frame:
    _check_size(path, _float_size(path), max_pixels)
    samples = exr.read(path) if _start(path, 4) == exr.SIGNATURE else opencv.decode(path)
    return Frame(_finite(samples.astype(np.float32)), 32)


def _float_size(path: Path) -> tuple[int, int]:
    """Width and height in the header."""
    start = _start(path, 65536)
    if start.startswith(exr.SIGNATURE):
        return exr.size(path)
    found = re.match(rb"P[Ff]\s+(\d+)\s+(\d+)\s", start)
    if found:
        return int(found[1]), int(found[2])
    found = re.search(rb"\n[-+]Y (\d+) [-+]X (\d+)\n", start)
    if not found:
        raise ValueError("it does not say its size")
    return int(found[2]), int(found[1])


def _finite(samples: StoredSamples) -> StoredSamples:
    if not np.isfinite(samples).all():
        raise ValueError("it has samples that are not numbers")
    return samples


# TIFF


def _tiff_frames(path: Path, max_pixels: int) -> Iterator[Frame]:
    for page in tiff.pages(path):
        _check_size(path, page.size, max_pixels)
        found, orientation = tiff.metadata(path, page)
        if page.bits > 8:
            samples, upright = tiff.read_deep(path, page)
            if page.colours in ("CMYK", "LAB"):
                samples, found = _deep_srgb(samples, page, found)
            stored = Frame(_finite(samples) if page.is_float else samples, 32 if page.is_float else 16, found)
        else:
            # Not by its name: Pillow 13 maps such files into memory, and garbles them where it turns them.
            with path.open("rb") as raw, PilImage.open(raw) as file:
                file.seek(page.index)
                stored, upright = _plain(file, found), True
        yield _oriented(stored, orientation, upright)


def _deep_srgb(samples: StoredSamples, page: tiff.Page, found: Metadata) -> tuple[StoredSamples, Metadata]:
    inks_ = page.colours == "CMYK"
    light = (
        colorspace.cmyk_to_srgb(samples, found.icc)
        if inks_
        else colorspace.lab_to_srgb(samples, page.photometric == 9)
    )
    return light, replace(found, icc=_srgb_profile())


# All else, by Pillow


def _pillow_frames(path: Path, max_pixels: int) -> Iterator[Frame]:
    with PilImage.open(path) as file:
        _check_size(path, file.size, max_pixels)
        found, orientation = _metadata(file, path), _orientation(file)
        for number in range(_timing(file).count):
            file.seek(number)
            stored = _frame(file, path, found)
            yield _oriented(stored, orientation)


def _timing(file: PilImage.Image) -> FrameTiming:
    count = int(getattr(file, "n_frames", 1)) if file.format in _FRAMED else 1
    if count == 1 or file.format == "HEIF":
        return FrameTiming(count)
    cover, loops = bool(file.info.get("default_image")), file.info.get("loop")
    durations = []
    for number in range(count):
        file.seek(number)
        file.load()  # WebP and AVIF tell the duration of a frame only then
        durations.append(float(file.info.get("duration", 0) or 0))
    file.seek(0)
    return FrameTiming(count, tuple(durations), loops, cover)


def _orientation(file: PilImage.Image) -> int:
    return int(file.getexif().get(ExifTags.Base.Orientation, 1))


def _metadata(file: PilImage.Image, path: Path) -> Metadata:
    info = file.info
    comment, block, xmp = info.get("comment"), info.get("exif"), info.get("xmp")
    dpi = tuple(float(value) for value in info.get("dpi", ()))
    return Metadata(
        icc=info.get("icc_profile"),
        exif=exif.strip_prefix(block) or None if block else None,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        dpi=dpi if len(dpi) == 2 and min(dpi) > 1 else None,
        comment=comment.encode() if isinstance(comment, str) else comment,
        chunks=_chunks(path) if file.format == "PNG" else (),
    )


def _chunks(path: Path) -> tuple[png.Chunk, ...]:
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return png.kept_chunks(data)


def _frame(file: PilImage.Image, path: Path, found: Metadata) -> Frame:
    if _is_deep(file, path):
        return Frame(_deep(file, path), 16, found)
    return _plain(file, found)


def _is_deep(file: PilImage.Image, path: Path) -> bool:
    """Whether samples have more than 8 bits; Pillow opens such colour as 8 bits and does not say so."""
    if file.format == "PNG":
        return _start(path, 25)[24] == 16
    if file.format in ("AVIF", "HEIF"):
        return _bits(file, path) > 8
    if file.format == "JPEG2000":
        return _jpeg2000_bits(_start(path, 65536)) > 8
    if file.format == "PPM":
        found = re.match(rb"P[2356](?:\s*#[^\n]*\n)*\s+\d+\s+\d+\s+(\d+)\s", _start(path, 4096))
        return found is not None and int(found[1]) > 255
    return file.mode.startswith("I;16")


def _jpeg2000_bits(start: bytes) -> int:
    """Bits of the first component, from the SIZ marker (ITU-T T.800, A.5.1)."""
    at = start.find(b"\xff\x4f\xff\x51")
    return (start[at + 42] & 127) + 1 if 0 <= at < len(start) - 42 else 8


def _bits(file: PilImage.Image, path: Path) -> int:
    """Bits of an AVIF or HEIC, which may have 10 or 12; animations are read with 8."""
    if file.format == "HEIF":
        return int(file.info.get("bit_depth", 8))
    if getattr(file, "n_frames", 1) > 1:
        return 8
    # `av1C`: the third byte has high_bitdepth and twelve_bit (AV1 in ISO media files, 2.3.3).
    start = _start(path, 65536)
    at = start.find(b"av1C")
    flags = start[at + 6] if 0 <= at < len(start) - 6 else 0
    return 8 if not flags & 64 else 12 if flags & 32 else 10


def _stretched(samples: StoredSamples, bits: int) -> StoredSamples:
    """All of 16 bits used by samples that have fewer."""
    top = 2**bits - 1
    return np.asarray((np.minimum(samples, top).astype(np.uint32) * 65535 + top // 2) // top, np.uint16)


def _deep_heif(file: PilImage.Image, path: Path) -> StoredSamples:
    import pillow_heif

    whole = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
    bits = _bits(file, path)
    return _stretched(np.asarray(whole[file.tell()]) >> (16 - bits), bits)


def _deep(file: PilImage.Image, path: Path) -> StoredSamples:
    """Samples (H, W) or (H, W, 2..4) as uint16."""
    if file.format == "HEIF":
        return _deep_heif(file, path)
    samples = opencv.decode(path)
    if file.format == "AVIF":
        samples = _stretched(samples, _bits(file, path))
    if samples.dtype != np.uint16 or samples.shape[1::-1] != file.size:
        raise ValueError("16-bit data cannot be decoded")
    if file.format == "PNG":
        return _png_channels(samples, path, file.info.get("transparency"))
    return samples


def _png_channels(samples: StoredSamples, path: Path, clear: Any) -> StoredSamples:
    """OpenCV reads grey with alpha as colour with alpha, and drops the colour that stands for clear."""
    kind = _start(path, 26)[25]
    if kind == 4 and samples.ndim == 3:
        return np.ascontiguousarray(samples[..., [0, 3]])
    if kind in (0, 2) and clear is not None and (samples.ndim == 2 or samples.shape[2] == 3):
        values = samples.reshape(*samples.shape[:2], -1)
        alpha = np.where((values == np.asarray(clear)).all(axis=2, keepdims=True), 0, 65535)
        return np.concatenate([values, alpha.astype(np.uint16)], axis=2)
    return samples


def _plain(file: PilImage.Image, found: Metadata) -> Frame:
    """A frame of up to 8 bits, in whatever mode it comes."""
    file.load()
    depth = 1 if file.mode == "1" else 8
    if file.mode in ("CMYK", "LAB"):
        return Frame(np.asarray(_to_srgb(file, found.icc)), 8, replace(found, icc=_srgb_profile()))
    if file.has_transparency_data and file.mode not in ("LA", "RGBA"):
        return Frame(np.array(file.convert("LA" if file.mode in ("1", "L") else "RGBA")), 8, found)
    if file.mode == "1":
        return Frame(np.array(file.convert("L")), depth, found)
    if file.mode in ("I", "F"):
        raise ValueError("its samples are 32-bit integers; convert it to 16 bits")
    if file.mode == "P" and _is_grey_palette(file):
        return Frame(np.array(file.convert("L")), 8, found)
    return Frame(_samples(file if file.mode in _PLAIN else file.convert("RGB")), 8, found)


def _samples(file: PilImage.Image) -> StoredSamples:
    """What a decoded picture holds, a band at a time: Pillow would make two copies of all of it."""
    first = np.asarray(file.crop((0, 0, file.width, min(_BAND, file.height))))
    out = np.empty((file.height, *first.shape[1:]), first.dtype)
    for top in range(0, file.height, _BAND):
        bottom = min(top + _BAND, file.height)
        out[top:bottom] = np.asarray(file.crop((0, top, file.width, bottom)))
    return out


def _is_grey_palette(file: PilImage.Image) -> bool:
    palette = np.asarray(file.getpalette() or [0, 1, 2]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _to_srgb(file: PilImage.Image, icc: bytes | None) -> PilImage.Image:
    """Inks or LAB as sRGB: by their profile, or by formula where inks have none."""
    if file.mode == "CMYK" and not icc:
        return file.convert("RGB")
    from io import BytesIO

    source = (
        ImageCms.ImageCmsProfile(BytesIO(icc))
        if icc and file.mode == "CMYK"
        else ImageCms.createProfile("LAB")
    )
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(file, source, target, outputMode="RGB")
    if converted is None:
        raise ValueError("its colours cannot be converted")
    return converted


def read_profile_name(icc: bytes) -> str:
    """What a colour profile calls itself; empty where it does not say, or is damaged."""
    from io import BytesIO

    try:
        described = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc)))
    except (OSError, ImageCms.PyCMSError):
        return ""
    return " ".join(described.split())


def _srgb_profile() -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
