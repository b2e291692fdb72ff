"""The images that methods are compared on, what methods make of them, and where the results differ."""

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srcli.bench import Score, compute_border, score
from srcli.datasets import list_images
from srcli.engine.limits import read_within_limit
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.pixels import Pixels, Plane, crop_to_multiple, quantise
from srcli.methods import Method, compute_output_size
from srcli.report.pictures import Region, find_busiest, find_densest

_MAX_SIDE, _MIN_SIDE = 64, 24
_SSIM_WINDOW = 11


@dataclass(frozen=True)
class ComparisonSource:
    """An image file and, if known, its ground truth; with `is_truth` the image itself is the truth."""

    image: Path
    truth: Path | None = None
    is_truth: bool = False
    max_pixels: int | None = None


@dataclass(frozen=True)
class Comparison:
    """`lr` (h, w, 3), and `truth` (h * scale, w * scale, 3) if known; `grey`: its file has one channel."""

    name: str
    lr: Pixels
    truth: Pixels | None
    grey: bool


@dataclass(frozen=True)
class MethodResult:
    """The output of a method for one image, as 8-bit values in [0, 1]; `seconds` of wall time."""

    method: str
    pixels: Pixels
    seconds: float
    score: Score | None


def format_score(score: Score | None) -> str:
    """Return a score as it is printed; empty without a truth."""
    return "" if score is None else f"{score.psnr_y:.2f} dB  SSIM {score.ssim_y:.4f}"


def list_sources(paths: list[Path], truth: Path | None, is_truth: bool) -> list[ComparisonSource]:
    """List the images of files and folders with their truths; in a folder `truth`, these are found by name.

    Raises `SrError` for an empty folder, and if it is not clear which truth belongs to an image.
    """
    if is_truth and truth:
        raise UsageError("--hr cannot be used with --truth", "--hr uses the image itself as ground truth")
    images = list(dict.fromkeys(file for path in paths for file in _list_files(path)))
    if truth is None or truth.is_dir():
        known = {file.stem: file for file in list_images(truth)} if truth else {}
        return [ComparisonSource(image, _find_truth(image, known, truth), is_truth) for image in images]
    if len(images) > 1:
        raise UsageError(
            f"--truth {truth} is one file for {len(images)} images", "use a folder of ground-truth images"
        )
    return [ComparisonSource(images[0], truth)]


def _list_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = list_images(path)
    if not files:
        raise DatasetError(f"no images in {path}", "use a folder with image files in it")
    return files


def _find_truth(image: Path, known: dict[str, Path], folder: Path | None) -> Path | None:
    """Return the truth of the same name; `babyx4.png` and `baby_x4.png`, as in data sets, have `baby.png`."""
    if folder is None:
        return None
    truth = known.get(image.stem) or known.get(re.sub(r"_?x\d+$", "", image.stem))
    if truth is None:
        raise DatasetError(
            f"no ground truth for {image.name} in {folder}", "name each ground-truth file like its image"
        )
    return truth


def load_comparison(source: ComparisonSource, scale: float) -> Comparison:
    """Read the images of a source. Raises `SrError` if they cannot be read or scored, or do not match."""
    image = read_within_limit(source.image, source.max_pixels)
    name = source.image.name
    if source.is_truth:
        truth = _crop_truth(image.pixels, scale, source.image)
        return Comparison(name, downscale_bicubic(truth, scale), truth, image.grey)
    if source.truth is None:
        return Comparison(name, image.pixels, None, image.grey)
    true_image = read_within_limit(source.truth, source.max_pixels)
    truth = _crop_truth(true_image.pixels, scale, source.truth)
    expected = compute_output_size(image.pixels, scale)
    if truth.shape[:2] != expected:
        size = "x".join(map(str, true_image.size))
        message = f"{source.truth} is {size}, not {expected[1]}x{expected[0]}"
        raise UsageError(message, "check --scale, or use --hr")
    return Comparison(name, image.pixels, truth, true_image.grey)


def _crop_truth(pixels: Pixels, scale: float, path: Path) -> Pixels:
    """Crop a truth to a multiple of the scale. Raises `DatasetError` if it is too small to score."""
    truth = crop_to_multiple(pixels, scale)
    size = f"{path}: an image of {pixels.shape[1]}x{pixels.shape[0]}"
    if 0 in truth.shape:
        raise DatasetError(f"{size} is too small to downscale by {scale:g}", "use a larger image")
    if min(truth.shape[:2]) < _SSIM_WINDOW + 2 * compute_border(scale):
        raise DatasetError(f"{size} is too small to score", f"SSIM needs {_SSIM_WINDOW} pixels")
    return truth


def check_sources(sources: list[ComparisonSource], scale: float, crop: Region | None) -> int:
    """Read every image once, and return how many pixels all of them have when upscaled.

    Raises the first error, so that no method runs in vain.
    """
    pixels = 0
    for source in sources:
        try:
            lr = load_comparison(source, scale).lr
        except SrError as error:
            if str(source.image) not in error.message and str(source.truth) not in error.message:
                error.message = f"{source.image}: {error.message}"
            raise
        if crop and not crop.is_inside(lr):
            size = f"{source.image.name} is {lr.shape[1]}x{lr.shape[0]} pixels"
            raise UsageError(f"--crop {crop} is outside the image", size)
        pixels += math.prod(compute_output_size(lr, scale))
    return pixels


def run_method(method: Method, comparison: Comparison, scale: float) -> MethodResult:
    """Run a method on an image, and score the result if the truth is known."""
    start = time.perf_counter()
    pixels = method(comparison.lr, scale)
    seconds = time.perf_counter() - start
    truth, border = comparison.truth, compute_border(scale)
    scores = None if truth is None else score(pixels, truth, border, comparison.grey)
    return MethodResult(method.name, (quantise(pixels) / 255).astype(np.float32), seconds, scores)


def find_differences(comparison: Comparison, results: list[MethodResult], count: int) -> list[Region]:
    """Return at most `count` squares of the input in which the methods differ most, with little overlap.

    The measure is the standard deviation of luma over the methods. A single method is compared with the
    truth; without a truth, the region with the most detail is returned.
    """
    side = min(_MAX_SIDE, max(_MIN_SIDE, min(comparison.lr.shape[:2]) // 3))
    planes = [luma(result.pixels) for result in results]
    if len(planes) == 1 and comparison.truth is not None:
        planes.append(luma(comparison.truth))
    if len(planes) == 1:
        return [find_busiest(comparison.lr, side)]
    deviation = _average_to(np.std(np.stack(planes), axis=0), comparison.lr.shape[:2])
    regions: list[Region] = []
    for _ in range(count):
        region = find_densest(deviation, side)
        if regions and not region.crop(deviation, deviation.shape[0]).any():
            break
        regions.append(region)
        margin = side // 4
        top, left = max(0, region.y - margin), max(0, region.x - margin)
        deviation[top : region.y + region.height + margin, left : region.x + region.width + margin] = 0
    return regions


def _average_to(plane: Plane, size: tuple[int, ...]) -> Plane:
    """Average a plane to a smaller `size` (h, w)."""
    from PIL import Image

    small = Image.fromarray(plane.astype(np.float32)).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.array(small, np.float32)
