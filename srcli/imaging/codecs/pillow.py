"""Codecs that Pillow does most of the work for: each names the one plugin that opens its files."""

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging import colorspace
from srcli.imaging.codecs.base import (
    Codec,
    EncodingOptions,
    Extent,
    Frame,
    FrameTiming,
    ImageInfo,
    UnsupportedImageError,
    check_pixel_count,
)
from srcli.imaging.codecs.orientation import turn_upright
from srcli.imaging.metadata import exif
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

_ORIENTATION = 0x0112
_BAND = 256
# Modes whose samples are taken as they are.
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA")


def open_image(file: Path | BinaryIO, formats: Sequence[str]) -> "PilImage":
    """Open a file with the plugins of `formats` and no others, which have to be imported already."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # every codec checks the size against a limit of its own
    return Image.open(file, formats=list(formats))


@dataclass(frozen=True)
class PillowCodec(Codec):
    """A format of Pillow's: `plugin` is a module of PIL, `pillow_formats` what it registers if not `name`."""

    plugin: str = ""
    pillow_formats: tuple[str, ...] = ()

    def load_plugin(self) -> None:
        """Register the plugin with Pillow, which would import all of its plugins to find it."""
        import_module(f"PIL.{self.plugin}")

    def open(self, path: Path) -> "PilImage":
        """Open a file with the plugin of this format and no other."""
        self.load_plugin()
        return open_image(path, self.pillow_formats or (self.name,))

    def measure(self, path: Path) -> Extent | None:
        """Return the canvas and the number of frames that Pillow finds in the headers."""
        if not self.has_frames:
            return None
        with self.open(path) as file:
            return Extent.of_canvas(file.size, self.count_frames(file))

    def describe(self, path: Path) -> ImageInfo:
        """Read the headers and the metadata; Pillow decodes no samples for it."""
        with self.open(path) as file:
            mode = file.mode.split(";")[0]
            depth = 1 if file.mode == "1" else 16 if self.read_bits(file, path) > 8 else 8
            return ImageInfo(
                file.format or self.name,
                file.size,
                "L" if mode == "I" else mode,
                depth,
                self.read_metadata(file, path),
                self.count_frames(file),
                self.estimate_quality(file),
            )

    def read_timing(self, path: Path) -> FrameTiming:
        """Count the frames and read their durations, for which all of an animation may be decoded."""
        with self.open(path) as file:
            count = self.count_frames(file)
            if count == 1 or self.frame_kind == "pages":
                return FrameTiming(count)
            plays = self.read_plays(file, path)  # before the first frame is decoded
            return FrameTiming(count, tuple(self.read_durations(file, path, count)), plays)

    def read_durations(self, file: "PilImage", path: Path, count: int) -> Iterator[float]:
        """Yield how long each frame is shown, in milliseconds; Pillow knows it once a frame is decoded."""
        for number in range(count):
            file.seek(number)
            file.load()
            yield float(file.info.get("duration", 0) or 0)

    def read_frames(self, path: Path, max_pixels: int) -> Iterator[Frame]:
        """Decode the frames, turned upright."""
        with self.open(path) as file:
            check_pixel_count(path, file.size, max_pixels)
            metadata = self.read_metadata(file, path)
            orientation = self.read_orientation(file, metadata)
            for number in range(self.count_frames(file)):
                file.seek(number)
                check_pixel_count(path, file.size, max_pixels)  # pages may differ in size
                if self.read_bits(file, path) > 8:
                    frame = Frame(self.read_16bit(file, path), 16, metadata)
                else:
                    frame = self.read_8bit(file, path, metadata)
                yield turn_upright(frame, orientation)

    def count_frames(self, file: "PilImage") -> int:
        """Return the number of frames that are read: 1 for formats without, whatever Pillow says."""
        return int(getattr(file, "n_frames", 1)) if self.has_frames else 1

    def read_bits(self, file: "PilImage", path: Path) -> int:
        """Return the bits of a sample; some plugins open deeper files with 8 and do not say so."""
        return 16 if file.mode.startswith("I;16") else 8

    def read_8bit(self, file: "PilImage", path: Path, metadata: Metadata) -> Frame:
        """Decode the current frame of up to 8 bits."""
        return read_8bit(file, metadata)

    def read_16bit(self, file: "PilImage", path: Path) -> StoredSamples:
        """Decode (H, W) or (H, W, 2..4) uint16 of a frame of more than 8 bits."""
        return np.asarray(file, np.uint16)

    def read_metadata(self, file: "PilImage", path: Path) -> Metadata:
        """Return what Pillow found besides the samples."""
        info = file.info
        comment, block, xmp = info.get("comment"), info.get("exif"), info.get("xmp")
        dpi = tuple(float(value) for value in info.get("dpi", ()))
        return Metadata(
            icc=info.get("icc_profile"),
            exif=exif.strip_prefix(block) or None if block else None,
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            dpi=dpi if len(dpi) == 2 and min(dpi) > 1 else None,
            comment=comment.encode() if isinstance(comment, str) else comment,
        )

    def read_orientation(self, file: "PilImage", metadata: Metadata) -> int:
        """Return the orientation tag 1..8; 1 for EXIF that cannot be parsed."""
        try:
            return int(file.getexif().get(_ORIENTATION, 1))
        except (ValueError, TypeError, SyntaxError, LookupError, struct.error):
            return 1

    def read_plays(self, file: "PilImage", path: Path) -> int:
        """Return how often an animation is shown in all, 0 for without end."""
        return int(file.info.get("loop", 0))

    def estimate_quality(self, file: "PilImage") -> int | None:
        """Return the quality a file was compressed with, or None if that cannot be told."""
        return None

    def write(
        self,
        file: BinaryIO,
        frames: Iterable[Frame],
        timing: FrameTiming,
        encoding: EncodingOptions,
        suffix: str,
    ) -> None:
        """Encode frames of up to 8 bits, or one of 16."""
        rest = iter(frames)
        first = next(rest)
        if first.depth > 8:
            data = self.encode_16bit(first.samples)
        else:
            options = self.metadata_options(first.metadata) | self.encoding_options(first, encoding, suffix)
            picture = self.to_picture(first)
            if timing.count > 1:
                others = [LazyPictures(picture, map(self.to_picture, rest))] * (timing.count - 1)
                options |= self.timing_options(timing) | {"save_all": True, "append_images": others}
            data = self.encode_picture(picture, options)
        file.write(self.complete(data, first, timing, suffix))

    def encode_picture(self, picture: "PilImage", options: dict[str, Any]) -> bytes:
        """Return a picture as a file; `options` are arguments of Pillow's `save`."""
        self.load_plugin()
        buffer = io.BytesIO()  # some encoders seek, and one that fails halfway leaves the file alone
        picture.save(buffer, (self.pillow_formats or (self.name,))[0], **options)
        return buffer.getvalue()

    def complete(self, data: bytes, first: Frame, timing: FrameTiming, suffix: str) -> bytes:
        """Return an encoded file with what the encoder cannot be told; here, as it is."""
        return data

    def encode_16bit(self, samples: StoredSamples) -> bytes:
        """Encode (H, W) or (H, W, 2..4) uint16, if 16 is among `depths`."""
        raise NotImplementedError

    def to_picture(self, frame: Frame) -> "PilImage":
        """Return a frame as Pillow's encoders take it."""
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(frame.samples))
        return picture.convert("1", dither=Image.Dither.NONE) if frame.depth == 1 else picture

    def metadata_options(self, metadata: Metadata) -> dict[str, Any]:
        """Return the arguments of Pillow's `save` for the kinds of metadata that the format holds."""
        values: dict[str, Any] = {
            "icc": ("icc_profile", metadata.icc),
            "exif": ("exif", exif.add_prefix(metadata.exif) if metadata.exif else None),
            "xmp": ("xmp", metadata.xmp),
            "dpi": ("dpi", metadata.dpi),
            "comment": ("comment", metadata.comment),
        }
        held = [values[kind] for kind in values if kind in self.metadata_kinds]
        return {name: value for name, value in held if value}

    def encoding_options(self, frame: Frame, encoding: EncodingOptions, suffix: str) -> dict[str, Any]:
        """Return the arguments of Pillow's `save` for quality and chroma subsampling."""
        options: dict[str, Any] = {}
        if self.default_quality:
            options["quality"] = encoding.quality or self.default_quality
        if self.default_subsampling and frame.samples.ndim > 2:
            default = "4:4:4" if encoding.lossless else self.default_subsampling
            options["subsampling"] = encoding.subsampling or default
        return options

    def timing_options(self, timing: FrameTiming) -> dict[str, Any]:
        """Return the arguments of Pillow's `save` for an animation."""
        durations = [max(1, round(value)) for value in timing.durations]
        return {"duration": durations} if durations else {}


class LazyPictures:
    """A stand-in for each picture after the first of an animation: the next one is made when it is encoded.

    Encoders take a list of pictures and go through it twice, first for mode and metadata, which are those of
    the first picture.
    """

    def __init__(self, first: "PilImage", pictures: Iterator["PilImage"]) -> None:
        self.mode, self.size = first.mode, first.size
        self.has_transparency_data = first.has_transparency_data
        self.info: dict[str, Any] = {}
        self._pictures = pictures
        self._picture: PilImage | None = None

    def seek(self, number: int) -> None:
        """Go to a frame: there is one."""
        if number:
            raise EOFError

    def getim(self) -> Any:
        """Return the samples of the next picture, which stays in memory until the one after it is made."""
        return self._advance().getim()

    def tobytes(self, *arguments: Any) -> bytes:
        """Return the samples of the next picture."""
        return self._advance().tobytes(*arguments)

    def convert(self, mode: str) -> "PilImage":
        """Return the next picture in another mode."""
        return self._advance().convert(mode)

    def _advance(self) -> "PilImage":
        self._picture = None  # before the next one is made
        self._picture = next(self._pictures, None)
        if self._picture is None:
            raise ValueError("it has fewer frames than its headers say")
        return self._picture


def read_8bit(file: "PilImage", metadata: Metadata) -> Frame:
    """Decode the current frame of an opened file of up to 8 bits, in whatever mode it comes."""
    file.load()
    if file.mode in ("CMYK", "LAB"):
        return convert_inks(file, metadata)
    if file.has_transparency_data and file.mode not in ("LA", "RGBA"):
        return Frame(np.array(file.convert("LA" if file.mode in ("1", "L") else "RGBA")), 8, metadata)
    if file.mode == "1":
        return Frame(np.array(file.convert("L")), 1, metadata)
    if file.mode in ("I", "F"):
        raise UnsupportedImageError("its samples are of 32 bits", "convert it to 16 bits")
    if file.mode == "P" and _has_grey_palette(file):
        return Frame(np.array(file.convert("L")), 8, metadata)
    return Frame(_copy_samples(file, file.mode if file.mode in _PLAIN_MODES else "RGB"), 8, metadata)


def convert_inks(picture: "PilImage", metadata: Metadata) -> Frame:
    """Convert 8-bit CMYK or L*a*b* to sRGB; CMYK by its profile, or by formula if that is not one of CMYK."""
    icc, notes = check_ink_profile(metadata.icc) if picture.mode == "CMYK" else (None, ())
    samples = np.asarray(colorspace.convert_to_srgb(picture, icc))
    return Frame(samples, 8, replace(metadata, icc=colorspace.make_srgb_profile()), notes)


def check_ink_profile(icc: bytes | None) -> tuple[bytes | None, tuple[str, ...]]:
    """Return the profile of a CMYK picture if it is one of CMYK, or else a note for the line of the image."""
    if icc is None or colorspace.is_ink_profile(icc):
        return icc, ()
    return None, ("CMYK converted without its profile, which is not one of CMYK",)


def _copy_samples(file: "PilImage", mode: str) -> StoredSamples:
    """Copy a decoded picture, converted to `mode`, a band at a time: Pillow would copy all of it twice."""
    height, width = file.height, file.width
    first = np.asarray(file.crop((0, 0, 1, 1)).convert(mode))
    out = np.empty((height, width, *first.shape[2:]), first.dtype)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        out[top:bottom] = np.asarray(file.crop((0, top, width, bottom)).convert(mode))
    return out


def _has_grey_palette(file: "PilImage") -> bool:
    palette = np.asarray(file.getpalette() or [0, 1, 2]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
