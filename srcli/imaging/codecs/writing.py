"""Writing image files: the suffix chooses the codec, and a file appears whole or not at all."""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

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
    if len(frames) > 1 and not codec.mixed_frames:
        frames = _unify(path, frames)
    check_writable(path, any(frame.has_alpha for frame in frames), len(frames), encoding)
    if encoding.strip:
        frames = [replace(frame, metadata=strip_metadata(frame.metadata)) for frame in frames]
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        try:
            codec.write(file, frames, timing, encoding, path.suffix.lower())
        except _ENCODER_ERRORS as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"cannot write {path}: {reason}", "choose another format") from error


def _unify(path: Path, frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames of an animation, which must have one size, with the same channels and depth."""
    if len({frame.samples.shape[:2] for frame in frames}) > 1:
        raise ImageError(f"{path.suffix} needs frames of the same size", "choose .tif")
    depth = max(frame.depth for frame in frames)
    frames = [replace(frame, samples=_deepen(frame.samples, depth), depth=depth) for frame in frames]
    shapes = {frame.samples.shape[2:] for frame in frames}
    if len(shapes) == 1:
        return frames
    colours = 3 if any(shape and shape[0] > 2 for shape in shapes) else 1
    has_alpha = any(frame.has_alpha for frame in frames)
    return [replace(frame, samples=_with_channels(frame, colours, has_alpha)) for frame in frames]


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
