"""A report on an image file: format, kind of picture, the model that suits it, and how sr made it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from srcli.engine.limits import choose_max_pixels
from srcli.imaging.codecs.base import ImageInfo
from srcli.imaging.codecs.reading import read_info, read_middle
from srcli.imaging.colorspace import read_profile_name
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.metadata.provenance import Record, read_record
from srcli.imaging.picture_kind import LARGEST_SIDE, Kind, Picture, examine_picture
from srcli.methods.auto import find_auto_models

_TOO_LARGE = "not examined: in this format, all of so large an image would have to be in memory"


@dataclass(frozen=True)
class ReadableImage:
    """An image, what it shows, and how it was made."""

    file: Annotated[str, "path"]
    format: Annotated[str, "format by its content, such as PNG"]
    size: Annotated[tuple[int, int], "width and height of the first frame"]
    colours: Annotated[str, "channels as Pillow names them, such as RGB or LA"]
    depth: Annotated[int, "bits per sample; 32 for float"]
    frames: Annotated[int, "frames of an animation or pages"]
    quality: Annotated[int | None, "estimated quality of a JPEG"]
    dpi: Annotated[tuple[float, float] | None, "horizontal and vertical resolution"]
    carries: Annotated[tuple[str, ...], "kinds of metadata in the file"]
    profile: Annotated[str | None, "name of the colour profile"]
    kind: Annotated[str | None, "kind of picture; null here and below if the image was too large to examine"]
    noise: Annotated[float | None, "standard deviation of the noise, in levels of 255"]
    spare: Annotated[float | None, "factor by which the image could be smaller without losing detail"]
    blocking: Annotated[float | None, "height of the steps at the borders of JPEG blocks, in levels of 255"]
    pixel: Annotated[int | None, "side of the squares that pixel art is made of; 1 for other pictures"]
    model: Annotated[str, "model that `sr upscale` would take"]
    because: Annotated[str | None, "what that model is chosen for"]
    made: Annotated[Record | None, "how sr made the image; null if it did not"]


@dataclass(frozen=True)
class UnreadableImage:
    """An image that could not be read."""

    file: Annotated[str, "path"]
    error: Annotated[str, "what is wrong with it"]


@dataclass(frozen=True)
class ImageReport:
    """Facts about an image; `record` says how it was made if it is an output of sr.

    `picture` is None if the image is too large to be looked at.
    """

    path: Path
    info: ImageInfo
    picture: Picture | None
    record: Record | None

    @property
    def model(self) -> str:
        """The model that `sr upscale` would take."""
        return find_auto_models().choose(self.picture or Picture(Kind.CLEAN))

    def list_lines(self) -> list[tuple[str, str]]:
        """Return names and values for people."""
        return [*self._list_facts(), ("advice", self._advise()), *_list_history(self.record)]

    @property
    def kind(self) -> str:
        """The kind of picture in words."""
        return str(self.picture.kind) if self.picture else _TOO_LARGE

    def describe_briefly(self) -> str:
        """Return format, size, kind and model in one line."""
        width, height = self.info.size
        return f"{self.info.format}  {width}x{height}  {self.kind}  -m {self.model}"

    def to_json(self) -> ReadableImage:
        """Return the report for JSON."""
        info, metadata, picture = self.info, self.info.metadata, self.picture
        return ReadableImage(
            file=str(self.path),
            format=info.format,
            size=info.size,
            colours=info.mode,
            depth=info.depth,
            frames=info.frames,
            quality=info.quality,
            dpi=metadata.dpi,
            carries=tuple(_list_metadata(metadata)),
            profile=_name_profile(metadata),
            kind=picture.kind.name.lower() if picture else None,
            noise=round(picture.noise, 2) if picture else None,
            spare=picture.spare if picture else None,
            blocking=round(picture.blocking, 2) if picture else None,
            pixel=picture.pixel if picture else None,
            model=self.model,
            because=picture.describe() if picture else None,
            made=self.record,
        )

    def _list_facts(self) -> list[tuple[str, str]]:
        info, metadata = self.info, self.info.metadata
        width, height = info.size
        frames = f", {info.frames} frames" if info.frames > 1 else ""
        dpi = f", {metadata.dpi[0]:.0f} dpi" if metadata.dpi else ""
        depth = "float" if info.depth == 32 else f"{info.depth} bit"
        quality = f", quality about {info.quality}" if info.quality else ""
        profile = _name_profile(metadata)
        return [
            ("format", f"{info.format}{quality}{frames}"),
            ("size", f"{width}x{height}, {_format_megapixels(width * height)}{dpi}"),
            ("samples", f"{info.mode}, {depth}"),
            ("metadata", ", ".join(_list_metadata(metadata)) or "none"),
            *([("profile", profile)] if profile else []),
            ("kind", self.kind),
            *self._list_measures(),
        ]

    def _list_measures(self) -> list[tuple[str, str]]:
        """Return what was measured of a photograph; for others it would mean nothing."""
        if self.picture is None or not (self.picture.is_degraded or self.picture.kind is Kind.CLEAN):
            return []
        spare = self.picture.spare
        detail = "full" if spare == 1 else f"no more than at 1/{spare:g} of the size"
        return [("noise", f"about {self.picture.noise:.1f} of 255 levels"), ("detail", detail)]

    def _advise(self) -> str:
        return f"use -m {self.model} for {self.picture.describe() if self.picture else 'clean images'}"


def describe_image(path: Path, max_pixels: int | None = None) -> ImageReport:
    """Read an image and examine the middle of its first frame. Raises `ImageError` if it cannot be read.

    Images of more than `max_pixels` are refused; by default, the size of the file and free memory decide.
    """
    info = read_info(path)
    samples = read_middle(path, LARGEST_SIDE, choose_max_pixels(path, max_pixels))
    picture = examine_picture(samples) if samples is not None else None
    return ImageReport(path, info, picture, read_record(info.metadata))


def _format_megapixels(count: int) -> str:
    """Return a number of pixels, from ten thousand on in millions."""
    if count < 10_000:
        return f"{count} pixels"
    megapixels = count / 1e6
    return f"{megapixels:.1f} megapixels" if megapixels >= 1 else f"{megapixels:.2g} megapixels"


def _name_profile(metadata: Metadata) -> str | None:
    """Return the name of the colour profile; None if there is no profile."""
    return (read_profile_name(metadata.icc) or "unnamed") if metadata.icc else None


def _list_metadata(metadata: Metadata) -> list[str]:
    kinds = {
        "colour profile": metadata.icc,
        "EXIF": metadata.exif,
        "XMP": metadata.xmp,
        "comment": metadata.comment,
        "PNG text or colour": metadata.chunks or None,
    }
    return [name for name, content in kinds.items() if content is not None]


def _list_history(record: Record | None) -> list[tuple[str, str]]:
    """Return how an output of sr was made; nothing for other images."""
    if record is None:
        return []
    weights = [f"{name} sha256 {digest[:16]}" for name, digest in record.weights.items()]
    options = [f"{name} {value}" for name, value in record.options.items()]
    return [
        (
            "made by",
            ", ".join([f"sr {record.version}", f"{record.model} {record.scale}", *weights, *options]),
        ),
        ("made from", f"an image of {record.size}, sha256 {record.source[:16]}"),
        ("made on", f"{record.where or 'cpu'}, tile {record.tile}"),
    ]
