"""An image file and what it holds: pixels, and beside them alpha, depth and metadata."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from srcli.errors import ImageError
from srcli.imaging.codecs import reading, registry, writing
from srcli.imaging.codecs.base import EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.reading import MAX_PIXELS
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import Pixels, Plane, StoredSamples, quantise


@dataclass(frozen=True)
class Image:
    """`pixels` (H, W, 3) and `alpha` (H, W) in [0, 1]; above 1 too where `depth` is 32, which is float.

    `depth` in bits; `grey`: one channel on file.
    """

    pixels: Pixels
    alpha: Plane | None = None
    depth: int = 8
    grey: bool = False
    metadata: Metadata = Metadata()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The (first) image in a file, upright. Raises `ImageError` for anything that is not a whole image."""
    return next(read_images(path, max_pixels))


def read_images(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image]:
    """The frames or pages of a file, one at a time, upright."""
    return (to_image(stored) for stored in reading.read_frames(path, max_pixels))


def write_image(path: Path, image: Image, output: EncodingOptions = EncodingOptions()) -> None:
    """Write by the suffix of `path`, atomically: the file appears whole or not at all."""
    writing.check_writable(path, image.alpha is not None, output=output)
    writing.write_frames(path, [to_frame(image, path, output)], output=output)


def write_frames(
    path: Path, frames: list[Frame], timing: FrameTiming, output: EncodingOptions = EncodingOptions()
) -> None:
    """`write_frames` for several frames, each made by `to_frame`.

    Raises `ImageError` for what the format can't hold.
    """
    if len(frames) > 1 and registry.find_codec(path).name != "TIFF":
        frames = _alike(path, frames)
    writing.check_writable(path, any(map(_has_alpha, frames)), len(frames), output)
    writing.write_frames(path, frames, timing, output)


def _has_alpha(frame: Frame) -> bool:
    return frame.samples.ndim == 3 and frame.samples.shape[2] in (2, 4)


def _alike(path: Path, frames: list[Frame]) -> list[Frame]:
    """The frames of an animation: of one size, with 8 bits, and with the same channels."""
    if len({frame.samples.shape[:2] for frame in frames}) > 1:
        raise ImageError(f"{path.suffix} holds frames of one size only", "choose .tif")
    if frames[0].depth > 8:
        raise ImageError(f"{path.suffix} holds frames of 8 bits only", "choose .tif, or --depth 8")
    if len({frame.samples.shape[2:] for frame in frames}) == 1:
        return frames
    images = [to_image(frame) for frame in frames]
    alpha, grey = any(map(_has_alpha, frames)), all(image.grey for image in images)
    opaque = np.ones(images[0].pixels.shape[:2], np.float32)
    alphas = ((opaque if image.alpha is None else image.alpha) if alpha else None for image in images)
    same = (replace(i, grey=grey, alpha=plane) for i, plane in zip(images, alphas, strict=True))
    return [Frame(to_samples(image, 8), 8, image.metadata) for image in same]


def to_frame(image: Image, path: Path, output: EncodingOptions = EncodingOptions()) -> Frame:
    """Samples as a file at `path` will hold them: at the image's depth, or the nearest that the format has.

    One-bit images are written with 8 bits, as what is between black and white is the gain of enlarging them.
    """
    depth = choose_depth(image.depth, path, output)
    return Frame(to_samples(image, depth), depth, image.metadata)


def choose_depth(depth: int, path: Path, output: EncodingOptions = EncodingOptions()) -> int:
    """The bits that samples will have in a file at `path`, of an image that has so many."""
    return output.depth or registry.find_codec(path).depth_for(max(depth, 8))


def to_image(stored: Frame) -> Image:
    """Samples of a file as values in [0, 1], or above where they are floats."""
    samples = stored.samples
    top = np.float32({"uint8": 255, "uint16": 65535}.get(samples.dtype.name, 1))
    values = samples.astype(np.float32) / top
    if values.ndim == 2:
        values = values[..., None]
    colours = 1 if values.shape[2] < 3 else 3
    pixels = np.repeat(values[..., :colours], 3 // colours, axis=2)
    alpha = values[..., colours] if values.shape[2] > colours else None
    return Image(pixels, alpha, stored.depth, colours == 1, stored.metadata)


def to_samples(image: Image, depth: int) -> StoredSamples:
    """Values as samples of so many bits: uint8, uint16, or float32 for 32."""
    # The mean, since a network fed with three equal channels need not return three equal ones.
    planes = [image.pixels.mean(axis=2, keepdims=True) if image.grey else image.pixels]
    if image.alpha is not None:
        planes.append(image.alpha[..., None])
    values = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    samples = _coded(values, depth)
    return samples[..., 0] if samples.shape[2] == 1 else samples


def _coded(values: Pixels, depth: int) -> StoredSamples:
    if depth == 32:
        return values.astype(np.float32)
    if depth == 1:
        return ((values >= 0.5) * np.uint8(255)).astype(np.uint8)
    return quantise(values, 2**depth - 1).astype(np.uint16 if depth == 16 else np.uint8)
