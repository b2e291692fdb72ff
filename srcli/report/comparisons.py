"""The images that methods are compared on, checked before any method runs, and what methods make of them."""

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srcli.bench import Score, compute_border, score
from srcli.datasets import list_images
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, Plane, crop_to_multiple, quantise
from srcli.methods import Method, compute_output_size
from srcli.report.pictures import Region, busiest, densest

_WIDEST, _NARROWEST = 64, 24
_SMALLEST = 11  # SSIM's window


@dataclass(frozen=True)
class ComparisonSource:
    """An image file and, where one is known, its truth; `hr`: the image itself is the truth."""

    image: Path
    truth: Path | None = None
    hr: bool = False


@dataclass(frozen=True)
class Comparison:
    """`lr` (h, w, 3), and the `truth` (h * scale, w * scale, 3) if known; `grey`: one channel on file."""

    name: str
    lr: Pixels
    truth: Pixels | None
    grey: bool


@dataclass(frozen=True)
class Outcome:
    """What one method made of a subject, as 8-bit values in [0, 1]; `seconds` of wall time."""

    method: str
    pixels: Pixels
    seconds: float
    score: Score | None


def sources(paths: list[Path], truth: Path | None, hr: bool) -> list[ComparisonSource]:
    """The images of files and folders, each with its truth: by its name where `truth` is a folder.

    Raises `SrError` for an empty folder, and where it is not clear which truth belongs to an image.
    """
    if hr and truth:
        raise UsageError("--hr and --truth exclude each other", "--hr takes the image itself as the truth")
    images = list(dict.fromkeys(file for path in paths for file in _files(path)))
    if truth is None or truth.is_dir():
        known = {file.stem: file for file in list_images(truth)} if truth else {}
        return [ComparisonSource(image, _truth_of(image, known, truth), hr) for image in images]
    if len(images) > 1:
        raise UsageError(f"--truth {truth} is one file for {len(images)} images", "give a folder of truths")
    return [ComparisonSource(images[0], truth)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = list_images(path)
    if not found:
        raise DatasetError(f"no images in {path}", "give a folder that holds image files")
    return found


def _truth_of(image: Path, known: dict[str, Path], folder: Path | None) -> Path | None:
    """`baby.png` or, as data sets name what they reduced, `babyx4.png` and `baby_x4.png`."""
    if folder is None:
        return None
    found = known.get(image.stem) or known.get(re.sub(r"_?x\d+$", "", image.stem))
    if found is None:
        raise DatasetError(
            f"no truth for {image.name} in {folder}", "true images have the names of the images"
        )
    return found


def load(source: ComparisonSource, scale: float) -> Comparison:
    """The images of one source. Raises `SrError` for what can't be read, or scored, or does not fit."""
    given = read_image(source.image)
    if source.hr:
        true = _scored(crop_to_multiple(given.pixels, scale), scale, source.image)
        return Comparison(source.image.name, downscale_bicubic(true, scale), true, given.grey)
    if source.truth is None:
        return Comparison(source.image.name, given.pixels, None, given.grey)
    image = read_image(source.truth)
    true = _scored(crop_to_multiple(image.pixels, scale), scale, source.truth)
    wanted = compute_output_size(given.pixels, scale)
    if true.shape[:2] != wanted:
        size = "x".join(map(str, image.size))
        raise UsageError(
            f"{source.truth} is {size}, not {wanted[1]}x{wanted[0]}", "check --scale, or use --hr"
        )
    return Comparison(source.image.name, given.pixels, true, image.grey)


def _scored(true: Pixels, scale: float, path: Path) -> Pixels:
    """`true`, if a border of `scale` pixels leaves enough to score."""
    height, width = true.shape[:2]
    if 0 < min(height, width) < _SMALLEST + 2 * compute_border(scale):
        raise DatasetError(
            f"{path}: an image of {width}x{height} is too small to score", "SSIM needs 11 pixels"
        )
    return true


def check(found: list[ComparisonSource], scale: float, crop: Region | None) -> int:
    """Read every image once; how many pixels all of them have when enlarged.

    Raises the first fault, so that no work is done in vain.
    """
    pixels = 0
    for source in found:
        try:
            lr = load(source, scale).lr
        except SrError as error:
            if str(source.image) not in error.message and str(source.truth) not in error.message:
                error.message = f"{source.image}: {error.message}"
            raise
        if crop and not crop.inside(lr):
            size = f"{source.image.name} is {lr.shape[1]}x{lr.shape[0]} pixels"
            raise UsageError(f"--crop {crop} is outside the image", size)
        pixels += math.prod(compute_output_size(lr, scale))
    return pixels


def outcome(method: Method, subject: Comparison, scale: float) -> Outcome:
    """Run one method on one image, and score it where the truth is known."""
    start = time.perf_counter()
    made = method(subject.lr, scale)
    seconds = time.perf_counter() - start
    figures = (
        None if subject.truth is None else score(made, subject.truth, compute_border(scale), subject.grey)
    )
    return Outcome(method.name, (quantise(made) / 255).astype(np.float32), seconds, figures)


def places(subject: Comparison, outcomes: list[Outcome], count: int) -> list[Region]:
    """Where the methods differ most: at most `count` squares of the input that hardly overlap.

    The measure is the standard deviation of luma among the methods. One method alone is compared with the
    truth; without one, the place with the most detail is taken.
    """
    side = min(_WIDEST, max(_NARROWEST, min(subject.lr.shape[:2]) // 3))
    planes = [luma(one.pixels) for one in outcomes]
    if len(planes) == 1 and subject.truth is not None:
        planes.append(luma(subject.truth))
    if len(planes) == 1:
        return [busiest(subject.lr, side)]
    spread = _reduced(np.std(np.stack(planes), axis=0), subject.lr.shape[:2])
    found: list[Region] = []
    for _ in range(count):
        place = densest(spread, side)
        if found and not place.of(spread, spread.shape[0]).any():
            break
        found.append(place)
        margin = side // 4
        top, left = max(0, place.y - margin), max(0, place.x - margin)
        spread[top : place.y + place.height + margin, left : place.x + place.width + margin] = 0
    return found


def _reduced(plane: Plane, size: tuple[int, ...]) -> Plane:
    """The mean of the pixels that one pixel of the input became."""
    import cv2

    return np.asarray(cv2.resize(plane, size[1::-1], interpolation=cv2.INTER_AREA), np.float32)
