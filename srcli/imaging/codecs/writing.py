"""Samples to files: as much of depth, channels, metadata and timing as the format holds."""

import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as PilImage
from PIL.JpegImagePlugin import RAWMODE
from PIL.PngImagePlugin import PngInfo

from srcli.errors import ImageError
from srcli.imaging import mmap_buffer
from srcli.imaging.codecs import exr, opencv, png, registry, tiff
from srcli.imaging.codecs.base import BandedImage, Codec, EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.registry import NamedPath
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata, strip_metadata
from srcli.imaging.pixels import StoredSamples
from srcli.storage.files import check_can_write, replace_atomically

_MARKER_BYTES = 65000  # a JPEG segment holds little more
_GIF_TICK = 10


def check_writable(
    path: Path,
    alpha: bool = False,
    frames: int = 1,
    encoding: EncodingOptions = EncodingOptions(),
    size: tuple[int, int] = (1, 1),
) -> None:
    """Raise `SrError` if no image, or none with these properties, could be written to `path`."""
    check_can_hold(path, alpha, frames, encoding, size)
    check_can_write(path)


def check_can_hold(
    path: NamedPath,
    alpha: bool = False,
    frames: int = 1,
    encoding: EncodingOptions = EncodingOptions(),
    size: tuple[int, int] = (1, 1),
) -> None:
    """Raise `ImageError` if files with this suffix cannot hold an image with these properties."""
    found = registry.find_codec(path)
    suffix = path.suffix.lower()
    if found.missing_package:
        raise ImageError(
            f"writing {suffix} needs {found.missing_package}", f"pip install 'sr-cli[{found.extra}]'"
        )
    if alpha and not found.has_alpha:
        raise ImageError(f"{suffix} holds no transparency", "choose .png, .webp or .tif")
    if frames > 1 and not found.has_frames:
        raise ImageError(f"{suffix} holds one frame, not {frames}", "choose .png, .webp, .gif or .tif")
    if encoding.depth and encoding.depth not in found.depths:
        held = " or ".join(map(str, found.depths))
        raise ImageError(
            f"{suffix} holds no {encoding.depth} bits", f"give --depth {held}, or another format"
        )
    if max(size) > found.largest_side:
        given = "x".join(map(str, size))
        raise ImageError(
            f"{suffix} holds {found.largest_side:,} pixels on a side, not {given}", "choose .png or .tif"
        )


def write_frames(
    path: Path,
    frames: Sequence[Frame],
    timing: FrameTiming = FrameTiming(),
    encoding: EncodingOptions = EncodingOptions(),
) -> None:
    """Write frames as `to_frame` makes them by the suffix of `path`; the file appears whole or not at all.

    Raises `SrError` for what the format cannot hold.
    """
    codec = registry.find_codec(path)
    if len(frames) > 1 and codec.name != "TIFF":
        frames = _unify(path, frames)
    check_writable(path, any(frame.has_alpha for frame in frames), len(frames), encoding)
    if encoding.strip:
        frames = [replace(frame, metadata=strip_metadata(frame.metadata)) for frame in frames]
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        try:
            _encode(file, codec, path.suffix.lower(), list(frames), timing, encoding)
        except (ValueError, RuntimeError, OverflowError, struct.error, SystemError) as error:
            # What encoders raise for an image that they do not take.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"cannot write {path}: {reason}", "choose another format") from error


def _unify(path: Path, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames of an animation with the same channels; they must have one size and 8 bits."""
    if len({frame.samples.shape[:2] for frame in frames}) > 1:
        raise ImageError(f"{path.suffix} holds frames of one size only", "choose .tif")
    if frames[0].depth > 8:
        raise ImageError(f"{path.suffix} holds frames of 8 bits only", "choose .tif, or --depth 8")
    shapes = {frame.samples.shape[2:] for frame in frames}
    if len(shapes) == 1:
        return list(frames)
    colours = 3 if any(shape and shape[0] > 2 for shape in shapes) else 1
    has_alpha = any(frame.has_alpha for frame in frames)
    return [Frame(_with_channels(frame, colours, has_alpha), 8, frame.metadata) for frame in frames]


def _with_channels(frame: Frame, colours: int, has_alpha: bool) -> StoredSamples:
    """Return 8-bit samples with grey repeated to `colours`, and an opaque alpha where one is wanted."""
    samples = frame.samples if frame.samples.ndim == 3 else frame.samples[..., None]
    own = samples[..., :-1] if frame.has_alpha else samples
    parts = [np.repeat(own, colours // own.shape[2], axis=2)]
    if has_alpha:
        parts.append(samples[..., -1:] if frame.has_alpha else np.full_like(samples[..., :1], 255))
    return np.concatenate(parts, axis=2)


def _encode(
    file: BinaryIO,
    found: Codec,
    suffix: str,
    frames: list[Frame],
    timing: FrameTiming,
    encoding: EncodingOptions,
) -> None:
    first = frames[0]
    if found.name == "TIFF":
        tiff.write(file, [(frame.samples, frame.depth, frame.metadata) for frame in frames])
    elif found.name == "PNG" and len(frames) == 1 and first.depth > 1:
        _png(file, _as_banded(first))
    elif found.name == "EXR":
        exr.write(Path(file.name), first.samples)
    elif first.depth > 8:
        file.write(_by_opencv(first.samples, suffix))
    else:
        _by_pillow(file, found, suffix, frames, timing, encoding)


def _as_banded(frame: Frame) -> BandedImage:
    return BandedImage(frame.samples.shape, frame.depth, png.bands(frame.samples), frame.metadata)


def write_rows(path: Path, image: BandedImage, encoding: EncodingOptions = EncodingOptions()) -> None:
    """`write_frames` for an image of which no more than a band is held.

    PNG and TIFF are written band by band, JPEG from a file on the disk; encoders of other formats want all
    samples in memory.
    """
    found = registry.find_codec(path)
    if encoding.strip:
        image = replace(image, metadata=strip_metadata(image.metadata))
    if found.name not in ("PNG", "TIFF", "JPEG") or image.depth == 1:
        write_frames(path, [Frame(_together(image), image.depth, image.metadata)], encoding=encoding)
        return
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        if found.name == "PNG":
            _png(file, image)
        elif found.name == "TIFF":
            tiff.write_sheets(file, [tiff.Sheet(image.shape, image.depth, image.metadata, image.bands)])
        else:
            _jpeg(file, path.parent, image, found, encoding)


def _together(image: BandedImage) -> StoredSamples:
    out, top = np.empty(image.shape, _dtype(image.depth)), 0
    for band in image.bands:
        out[top : top + len(band)] = band
        top += len(band)
    return out


def _dtype(depth: int) -> str:
    return {16: "uint16", 32: "float32"}.get(depth, "uint8")


def _png(file: BinaryIO, image: BandedImage) -> None:
    height, width = image.shape[:2]
    channels = 1 if len(image.shape) == 2 else image.shape[2]
    header = png.Header(width, height, channels, image.depth)
    png.write(file, header, image.bands, _png_chunks(image.metadata))


def _jpeg(file: BinaryIO, folder: Path, image: BandedImage, found: Codec, encoding: EncodingOptions) -> None:
    """By way of a file, since the encoder wants the picture whole, with four bytes a pixel of any colour."""
    height, width = image.shape[:2]
    grey = len(image.shape) == 2
    with mmap_buffer.open_on_disk((height, width) if grey else (height, width, 4), folder) as place:
        top = 0
        for band in image.bands:
            (place.samples if grey else place.samples[..., :3])[top : top + len(band)] = band
            top += len(band)
            place.drop_pages()
        mode = "L" if grey else "RGBX"
        picture = PilImage.frombuffer(mode, (width, height), place.samples, "raw", mode, 0, 1)
        line = Frame(place.samples[:1], 8)
        options = _metadata_options(found, image.metadata) | _coding_options(found, line, encoding)
        RAWMODE.setdefault("RGBX", "RGB")  # the encoder knows these bytes by that name only
        picture.save(mmap_buffer.PageDroppingFile(file, place), "JPEG", **options)  # type: ignore[arg-type]


def _png_chunks(about: Metadata) -> list[png.Chunk]:
    """In the order that the specification wants: colour first."""
    out = [png.profile_chunk(about.icc)] if about.icc else []
    # A profile overrules sRGB and gamma, and readers warn of a file that has both.
    out += [chunk for chunk in about.chunks if not (about.icc and chunk[0] in (b"sRGB", b"iCCP"))]
    out += [png.resolution_chunk(about.dpi)] if about.dpi else []
    out += [(b"eXIf", exif.strip_prefix(about.exif))] if about.exif else []
    return out + ([png.xmp_chunk(about.xmp)] if about.xmp else [])


def _by_opencv(samples: StoredSamples, suffix: str) -> bytes:
    """16-bit JPEG 2000 and PNM, Radiance HDR, PFM."""
    if samples.ndim == 3 and samples.shape[2] == 2:  # OpenCV has no grey with alpha
        samples = samples[..., [0, 0, 0, 1]]
    elif samples.ndim == 2 and suffix == ".hdr":
        samples = np.repeat(samples[..., None], 3, axis=2)
    # Names of the same formats that OpenCV does not know, or takes for colour only.
    kind = {".jpx": ".jp2", ".jpf": ".jp2", ".j2k": ".jp2", ".ppm": ".pnm", ".pgm": ".pnm"}.get(
        suffix, suffix
    )
    return opencv.encode(samples, kind)


def _by_pillow(
    file: BinaryIO,
    found: Codec,
    suffix: str,
    frames: list[Frame],
    timing: FrameTiming,
    encoding: EncodingOptions,
) -> None:
    pictures = [_picture(frame, found) for frame in frames]
    options = _metadata_options(found, frames[0].metadata) | _coding_options(found, frames[0], encoding)
    if len(pictures) > 1:
        options |= _timing_options(found, timing) | {"save_all": True, "append_images": pictures[1:]}
    if found.name == "JPEG2000":
        options["no_jp2"] = suffix == ".j2k"
    if found.name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()  # formats that seek, and encoders that fail halfway, leave the file alone
    pictures[0].save(buffer, found.name, **options)
    file.write(buffer.getbuffer())


def _picture(frame: Frame, found: Codec) -> PilImage.Image:
    picture = PilImage.fromarray(np.ascontiguousarray(frame.samples))
    if frame.depth == 1:
        return picture.convert("1", dither=PilImage.Dither.NONE)
    if found.name == "GIF" and picture.mode in ("LA", "RGBA"):
        return _with_hard_edges(picture)
    return picture


def _with_hard_edges(picture: PilImage.Image) -> PilImage.Image:
    """A pixel of a GIF is there or not."""
    colour = picture.convert("RGBA")
    colour.putalpha(colour.getchannel("A").point(lambda value: 255 if value >= 128 else 0))
    return colour


def _metadata_options(found: Codec, about: Metadata) -> dict[str, Any]:
    """Of what Pillow's writers take, what the format carries."""
    values: dict[str, Any] = {
        "icc": ("icc_profile", about.icc),
        "exif": ("exif", exif.add_prefix(about.exif) if about.exif else None),
        "xmp": ("xmp", about.xmp),
        "dpi": ("dpi", about.dpi),
        "comment": ("comment", about.comment),
    }
    options = {
        name: value for field, (name, value) in values.items() if field in found.metadata_kinds and value
    }
    if found.name == "PNG":
        options.pop("xmp", None)  # Pillow would need it as text
        return options | {"pnginfo": _png_info(about)}
    if found.name == "JPEG":
        for name in ("exif", "xmp"):
            if len(options.get(name, b"")) > _MARKER_BYTES:
                del options[name]
    return options


def _png_info(about: Metadata) -> PngInfo:
    """The chunks that Pillow has no option for."""
    info = PngInfo()
    for name, content in _png_chunks(Metadata(xmp=about.xmp, chunks=about.chunks)):
        info.add(name, content)
    return info


def _coding_options(found: Codec, frame: Frame, encoding: EncodingOptions) -> dict[str, Any]:
    options: dict[str, Any] = {"compress_level": 2} if found.name == "PNG" else {}
    if found.default_quality:
        options["quality"] = encoding.quality or found.default_quality
    if found.has_subsampling:
        grey = frame.samples.ndim == 2
        default = "4:4:4" if found.name == "JPEG" or encoding.lossless else "4:2:0"
        options |= {} if grey else {"subsampling": encoding.subsampling or default}
    if found.has_lossless and encoding.lossless:
        options |= {"lossless": True, "exact": True} if found.name == "WEBP" else {"quality": -1}
    if found.name == "JPEG2000" and encoding.quality and not encoding.lossless:
        options |= {
            "irreversible": True,
            "quality_mode": "dB",
            "quality_layers": [20 + encoding.quality * 0.4],
        }
    return options


def _timing_options(found: Codec, timing: FrameTiming) -> dict[str, Any]:
    durations = [max(1, round(value)) for value in timing.durations]
    if found.name == "GIF":
        durations = [max(_GIF_TICK, round(value / _GIF_TICK) * _GIF_TICK) for value in timing.durations]
    options: dict[str, Any] = {"duration": durations} if durations else {}
    if found.name == "GIF":
        return options | ({} if timing.loops is None else {"loop": timing.loops}) | {"disposal": 2}
    if found.name == "PNG":
        if timing.cover:
            options["duration"] = durations[1:]
        return options | {"loop": timing.loops or 0, "default_image": timing.cover}
    return options | ({"loop": timing.loops or 0} if found.name == "WEBP" else {})
