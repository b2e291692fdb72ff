"""Writing image files: the suffix chooses the codec, and a file appears whole or not at all."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np

from srcli.dataclass import dataclass
from srcli.errors import ImageError
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import BandedImage, EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.registry import NamedPath
from srcli.imaging.metadata.fields import strip_metadata
from srcli.imaging.pixels import StoredSamples, white_level
from srcli.storage.files import check_can_write, replace_atomically

# Encoders raise these for an image they refuse.
_ENCODER_ERRORS = (ValueError, RuntimeError, OverflowError, struct.error, SystemError)
_DTYPES = {1: np.uint8, 8: np.uint8, 16: np.uint16, 32: np.float32}


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
    codec = registry.find_codec(path)
    suffix = path.suffix.lower()
    if codec.missing_package:
        raise ImageError(
            f"writing {suffix} needs {codec.missing_package}", f"pip install 'sr-cli[{codec.extra}]'"
        )
    if alpha and not codec.has_alpha:
        raise ImageError(
            f"{suffix} cannot hold transparency",
            "choose .png, .webp or .tif, or flatten it: --background white",
        )
    if frames > 1 and not codec.has_frames:
        raise ImageError(f"{suffix} holds one frame, not {frames}", "choose .png, .webp, .gif or .tif")
    if encoding.depth and encoding.depth not in codec.depths:
        held = " or ".join(map(str, codec.depths))
        raise ImageError(
            f"{suffix} cannot hold {encoding.depth}-bit samples",
            f"use --depth {held}, or choose another format",
        )
    if max(size) > codec.largest_side:
        given = "x".join(map(str, size))
        raise ImageError(
            f"{suffix} holds up to {codec.largest_side:,} pixels a side, not {given}", "choose .png or .tif"
        )


@dataclass(frozen=True)
class FrameFormat:
    """The common format of the frames of an animation: (height, width), depth, 1 or 3 colours, and alpha."""

    size: tuple[int, int]
    depth: int
    colours: int
    has_alpha: bool

    @classmethod
    def of(cls, frame: Frame) -> "FrameFormat":
        """Return the format of one frame."""
        return cls(frame.samples.shape[:2], frame.depth, 3 if frame.has_colours else 1, frame.has_alpha)

    def join(self, other: "FrameFormat") -> "FrameFormat":
        """Return the format that holds frames of both. Raises `ValueError` for two sizes."""
        if self.size != other.size:
            raise ValueError("the frames have different sizes")
        return FrameFormat(
            self.size,
            max(self.depth, other.depth),
            max(self.colours, other.colours),
            self.has_alpha or other.has_alpha,
        )

    def fit(self, frame: Frame) -> Frame:
        """Return a frame in this format."""
        samples = _deepen(frame.samples, self.depth)
        frame = replace(frame, samples=samples, depth=self.depth)
        own = FrameFormat.of(frame)
        if (own.colours, own.has_alpha) != (self.colours, self.has_alpha):
            frame = replace(frame, samples=_with_channels(frame, self.colours, self.has_alpha))
        return frame


def find_common_format(path: Path, formats: Iterable[FrameFormat]) -> FrameFormat | None:
    """Return the format that frames of these can all have in a file at `path`; None if each keeps its own.

    Raises `ImageError` for frames of several sizes.
    """
    if registry.find_codec(path).mixed_frames:
        return None
    try:
        return reduce(FrameFormat.join, formats)
    except ValueError as error:
        raise ImageError(f"{path.suffix} needs frames of the same size", "choose .tif") from error


def write_frames(
    path: Path,
    frames: Sequence[Frame],
    timing: FrameTiming | None = None,
    encoding: EncodingOptions = EncodingOptions(),
) -> None:
    """Write frames as `to_frame` makes them by the suffix of `path`; the file appears whole or not at all.

    Raises `SrError` for what the format cannot hold.
    """
    common = find_common_format(path, map(FrameFormat.of, frames)) if len(frames) > 1 else None
    write_frame_stream(path, frames, timing or FrameTiming(len(frames)), encoding, common)


def write_frame_stream(
    path: Path,
    frames: Iterable[Frame],
    timing: FrameTiming,
    encoding: EncodingOptions,
    common: FrameFormat | None,
) -> None:
    """Write `timing.count` frames that are made while they are written, in their common format, if any."""
    codec = registry.find_codec(path)
    rest = iter(frames)
    first = next(rest)
    has_alpha = common.has_alpha if common else first.has_alpha
    check_writable(path, has_alpha, timing.count, encoding)
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        failures: list[Exception] = []
        try:
            prepared = _prepare_frames(chain([first], rest), encoding.strip, common, failures)
            codec.write(file, prepared, timing, encoding, path.suffix.lower())
        except _ENCODER_ERRORS as error:
            if error in failures:
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"cannot write {path}: {reason}", "choose another format") from error


def _prepare_frames(
    frames: Iterator[Frame], is_stripped: bool, common: FrameFormat | None, failures: list[Exception]
) -> Iterator[Frame]:
    """Yield frames as the codec takes them; what their source raises is added to `failures`."""
    try:
        for frame in frames:
            fitted = common.fit(frame) if common else frame
            if is_stripped:
                fitted = replace(fitted, metadata=strip_metadata(fitted.metadata))
            yield fitted
    except Exception as error:
        failures.append(error)
        raise


def _deepen(samples: StoredSamples, depth: int) -> StoredSamples:
    """Return integer samples with `depth` bits, which are at least as many as they have."""
    return samples.astype(np.uint16) * 257 if depth == 16 and samples.dtype == np.uint8 else samples


def _with_channels(frame: Frame, colours: int, has_alpha: bool) -> StoredSamples:
    """Return samples with grey repeated to `colours`, and an opaque alpha where one is wanted."""
    samples = frame.samples if frame.samples.ndim == 3 else frame.samples[..., None]
    own = samples[..., :-1] if frame.has_alpha else samples
    parts = [np.repeat(own, colours // own.shape[2], axis=2)]
    if has_alpha:
        opaque = np.full_like(samples[..., :1], white_level(samples))
        parts.append(samples[..., -1:] if frame.has_alpha else opaque)
    return np.concatenate(parts, axis=2)


def write_rows(path: Path, image: BandedImage, encoding: EncodingOptions = EncodingOptions()) -> None:
    """Write an image whose rows are made while it is written, as `write_frames` does.

    Codecs that `streams` hold one band at a time; the encoders of others need all samples in memory.
    """
    codec = registry.find_codec(path)
    if not codec.streams or image.depth == 1:
        frame = Frame(_join_bands(image), image.depth, image.metadata)
        write_frames(path, [frame], encoding=encoding)
        return
    if encoding.strip:
        image = replace(image, metadata=strip_metadata(image.metadata))
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        codec.write_rows(file, image, encoding)


def _join_bands(image: BandedImage) -> StoredSamples:
    out, top = np.empty(image.shape, _DTYPES[image.depth]), 0
    for band in image.bands:
        out[top : top + len(band)] = band
        top += len(band)
    return out
