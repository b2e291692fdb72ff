"""An image file and what it holds: pixels, and beside them alpha, depth, colour profile and EXIF."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as PilImage

from srcli.errors import ImageError
from srcli.files import check_place, replacing
from srcli.imaging.pixels import Pixels, Plane, Samples, quantise

# Above this an image is refused as a decompression bomb; Pillow's own limit stops honest scans.
PilImage.MAX_IMAGE_PIXELS = 2**29

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".ppm", ".pgm", ".gif")
_WRITABLE = tuple(s for s in _SUFFIXES if s != ".gif")
_OPAQUE = (".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")
_SAVE: dict[str, dict[str, Any]] = {
    ".png": {"compress_level": 2},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
    ".avif": {"quality": 90},
    ".tif": {"compression": "tiff_adobe_deflate"},
    ".tiff": {"compression": "tiff_adobe_deflate"},
}

# What turns stored samples upright, by the EXIF orientation tag.
_UPRIGHT: dict[int, Callable[[Samples], Samples]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class Image:
    """`pixels` (H, W, 3) and `alpha` (H, W) in [0, 1]; `depth` in bits; `grey`: one channel on file."""

    pixels: Pixels
    alpha: Plane | None = None
    depth: int = 8
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def is_image(path: Path) -> bool:
    """Whether the name looks like an image that can be read."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def writable_suffix(suffix: str) -> str:
    """The same suffix where such files can be written, else `.png`."""
    return suffix if suffix.lower() in _WRITABLE else ".png"


def read(path: Path) -> Image:
    """The image in a file, upright. Raises `ImageError` for anything that is not a whole image."""
    check_readable(path)
    try:
        with PilImage.open(path) as file:
            samples = _samples(file, path)
            exif = file.getexif()
            # A CMYK profile does not describe the RGB pixels that come out.
            icc = file.info.get("icc_profile") if file.mode != "CMYK" else None
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image", f"readable: {' '.join(_SUFFIXES)}") from error
    except PilImage.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error}", "cut it into parts first") from error
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError) as error:
        # What Pillow's plugins raise for damaged data; AVIF's raises RuntimeError.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"{path} is damaged: {reason}", "copy or download the file again") from error
    upright = _UPRIGHT.get(exif.get(ExifTags.Base.Orientation, 1), np.asarray)(samples)
    return replace(_from_samples(upright), icc=icc, exif=_reset_orientation(exif))


def check_readable(path: Path) -> None:
    """Raise `ImageError` where there is no file that `read` could open."""
    if not path.exists():
        raise ImageError(f"{path} does not exist", "check the path")
    if path.is_dir():
        raise ImageError(f"{path} is a folder", "name an image file")
    if not os.access(path, os.R_OK):
        raise ImageError(f"{path} may not be read", "change its permissions")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes)", "copy or download the file again")


def _reset_orientation(exif: PilImage.Exif) -> bytes | None:
    if not exif:
        return None
    if ExifTags.Base.Orientation in exif:
        exif[ExifTags.Base.Orientation] = 1
    return exif.tobytes()


def _samples(file: PilImage.Image, path: Path) -> Samples:
    """Stored samples (H, W) or (H, W, 2..4) as uint8 or uint16."""
    if _bits(file, path) == 16:
        return _read_16bit(path)
    if file.mode == "P":
        return np.array(file.convert("RGBA" if "transparency" in file.info else "RGB"))
    if file.mode in ("L", "LA", "RGB", "RGBA"):
        return np.array(file)
    if file.mode in ("I", "F"):
        raise ImageError(f"{path} has 32-bit samples", "convert it to 8 or 16 bits first")
    return np.array(file.convert("L" if file.mode == "1" else "RGB"))


def _bits(file: PilImage.Image, path: Path) -> int:
    """Bits per sample; Pillow opens 16-bit colour as 8 bit and does not say so."""
    if file.mode.startswith("I;16"):
        return 16
    if file.format == "TIFF":
        return int(max(file.tag_v2.get(258, (8,))))  # type: ignore[attr-defined]
    if file.format == "PNG":
        with path.open("rb") as raw:
            return raw.read(25)[24]
    return 8


def _read_16bit(path: Path) -> Samples:
    import cv2

    # IMREAD_UNCHANGED ignores the orientation tag; read() applies it for every format alike.
    try:
        samples: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"16-bit data cannot be decoded: {error.err}") from error
    if samples is None:
        raise ValueError("16-bit data cannot be decoded")
    return _swap_red_blue(samples)


def _swap_red_blue(samples: Samples) -> Samples:
    """RGB(A) to OpenCV's BGR(A) or back; one and two channels stay."""
    if samples.ndim == 2 or samples.shape[2] < 3:
        return samples
    return np.ascontiguousarray(samples[..., [2, 1, 0, *range(3, samples.shape[2])]])


def _from_samples(samples: Samples) -> Image:
    depth = samples.dtype.itemsize * 8
    values = samples.astype(np.float32) / np.float32(2**depth - 1)
    if values.ndim == 2:
        values = values[..., None]
    colours = 1 if values.shape[2] < 3 else 3
    pixels = np.repeat(values[..., :colours], 3 // colours, axis=2)
    alpha = values[..., colours] if values.shape[2] > colours else None
    return Image(pixels, alpha, depth, grey=colours == 1)


def check_writable(path: Path, image: Image | None = None) -> None:
    """Raise `SrError` where `write` could not put an image (or this one) at `path`."""
    if path.suffix.lower() not in _WRITABLE:
        raise ImageError(f"cannot write '{path.suffix}' files", f"writable: {' '.join(_WRITABLE)}")
    if image and image.alpha is not None and path.suffix.lower() in _OPAQUE:
        raise ImageError(f"{path.suffix} holds no transparency", "choose .png, .webp or .tif")
    check_place(path)


def write(path: Path, image: Image) -> None:
    """Write by the suffix of `path`, atomically: the file appears whole or not at all."""
    check_writable(path, image)
    suffix = path.suffix.lower()
    samples = _to_samples(image, 16 if image.depth == 16 and suffix in (".png", ".tif", ".tiff") else 8)
    with replacing(path) as temporary:
        if samples.dtype == np.uint16:
            _write_16bit(temporary, samples)
        else:
            extra = {"icc_profile": image.icc, "exif": image.exif}
            options: dict[str, Any] = {k: v for k, v in extra.items() if v} | _SAVE.get(suffix, {})
            PilImage.fromarray(samples).save(temporary, **options)


def _to_samples(image: Image, depth: int) -> Samples:
    # The mean, since a network fed with three equal channels need not return three equal ones.
    planes = [image.pixels.mean(axis=2, keepdims=True) if image.grey else image.pixels]
    if image.alpha is not None:
        planes.append(image.alpha[..., None])
    values = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    samples: Samples = quantise(values, 2**depth - 1).astype(np.uint16 if depth == 16 else np.uint8)
    return samples[..., 0] if samples.shape[2] == 1 else samples


def _write_16bit(path: Path, samples: Samples) -> None:
    import cv2

    if samples.ndim == 3 and samples.shape[2] == 2:  # OpenCV has no grey with alpha
        samples = samples[..., [0, 0, 0, 1]]
    _, data = cv2.imencode(path.suffix, _swap_red_blue(samples))
    data.tofile(path)
