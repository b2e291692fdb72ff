"""Images as pixels with alpha, depth and metadata: what is read from and written to files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.codecs import reading, registry, writing
from srcli.imaging.codecs.base import MAX_PIXELS, EncodingOptions, Frame
from srcli.imaging.metadata.fields import Metadata
from srcli.imaging.pixels import Pixels, Plane, StoredSamples, quantise, white_level


@dataclass(frozen=True)
class Image:
    """An image: `pixels` (H, W, 3) and `alpha` (H, W) in [0, 1], or above if `depth` is 32 bits (float).

    `grey`: the file has one channel besides alpha.
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
    """Read the first image of a file, upright. Raises `ImageError` for files that are no image or damaged."""
    return next(read_images(path, max_pixels))


def read_images(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image]:
    """Read the frames or pages of a file, one at a time, upright."""
    return (to_image(frame) for frame in reading.read_frames(path, max_pixels))


def write_image(path: Path, image: Image, encoding: EncodingOptions = EncodingOptions()) -> None:
    """Write by the suffix of `path`, atomically: the file appears whole or not at all."""
    writing.write_frames(path, [to_frame(image, path, encoding)], encoding=encoding)


def to_frame(image: Image, path: Path, encoding: EncodingOptions = EncodingOptions()) -> Frame:
    """Convert an image to samples for a file at `path`, with the depth that `choose_depth` returns."""
    depth = choose_depth(image.depth, path, encoding)
    return Frame(to_samples(image, depth), depth, image.metadata)


def choose_depth(depth: int, path: Path, encoding: EncodingOptions = EncodingOptions()) -> int:
    """Return the depth in bits for writing an image of `depth` to `path`.

    One-bit images get 8 bits: the values between black and white are the gain of upscaling them.
    """
    return encoding.depth or registry.find_codec(path).choose_depth(max(depth, 8))


def to_image(frame: Frame) -> Image:
    """Convert samples to values in [0, 1], or above for floats."""
    samples = frame.samples if frame.samples.ndim == 3 else frame.samples[..., None]
    colours = 1 if samples.shape[2] < 3 else 3
    pixels = to_values(samples[..., :colours])
    if colours == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    alpha = to_values(samples[..., colours]) if samples.shape[2] > colours else None
    return Image(pixels, alpha, frame.depth, colours == 1, frame.metadata)


def to_values(samples: StoredSamples) -> NDArray[np.float32]:
    """Convert samples of any shape to values in [0, 1], or above for floats."""
    values = samples.astype(np.float32)
    values /= np.float32(white_level(samples))
    return values


def to_samples(image: Image, depth: int) -> StoredSamples:
    """Convert values to samples of `depth` bits: uint8, uint16, or float32 for 32."""
    # The mean: a network that gets three equal channels need not return three equal ones.
    planes = [image.pixels.mean(axis=2, keepdims=True) if image.grey else image.pixels]
    if image.alpha is not None:
        planes.append(image.alpha[..., None])
    values = np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0]
    samples = _quantise_samples(values, depth)
    return samples[..., 0] if samples.shape[2] == 1 else samples


def _quantise_samples(values: Pixels, depth: int) -> StoredSamples:
    if depth == 32:
        return values.astype(np.float32)
    if depth == 1:
        return ((values >= 0.5) * np.uint8(255)).astype(np.uint8)
    return quantise(values, 2**depth - 1).astype(np.uint16 if depth == 16 else np.uint8)
