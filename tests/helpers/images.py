"""Making images and comparing them."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from helpers.paths import SAMPLES
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels, quantise


def copy_sample(name: str, to: Path) -> Path:
    return Path(shutil.copy(SAMPLES / name, to))


def crop_photo(height: int, width: int) -> Pixels:
    return read_image(SAMPLES / "chelsea.png").pixels[60 : 60 + height, 100 : 100 + width]


def write_noise_images(folder: Path, count: int, side: int = 300) -> Path:
    rng = np.random.default_rng(0)
    for k in range(count):
        write_image(folder / f"{k:03}.png", Image(rng.random((side, side, 3), np.float32)))
    return folder


def write_tiny_images(folder: Path, count: int, side: int = 4) -> Path:
    """Write images of one colour each that are quick to read; the first sample holds the number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        samples = np.full((side, side, 3), number % 256, np.uint8)
        samples[0, 0] = divmod(number, 256)[0]
        PilImage.fromarray(samples).save(folder / f"{number:04}.png")
    return folder


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of each file by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_samples(ours: Pixels, theirs: Pixels) -> None:
    """Hold the bound that every runtime keeps: at most 0.1 % of the 8-bit samples differ, by one level."""
    steps = np.abs(quantise(ours) - quantise(theirs))
    assert ours.shape == theirs.shape
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 1e-3


def assert_same_image(ours: Pixels, theirs: Pixels) -> None:
    """Hold the bound of `assert_same_samples`, and 1e-3 before rounding."""
    assert_same_samples(ours, theirs)
    assert np.abs(ours - theirs).max() <= 1e-3
