"""Data set x methods -> rows, by the protocol of the papers; the same scores guide training."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from srcli.datasets import Dataset, Picture, samples
from srcli.errors import DatasetError, ProtocolError, SrError
from srcli.imaging.color import luma
from srcli.imaging.degrade import bicubic_lr
from srcli.imaging.metrics import psnr, ssim
from srcli.imaging.pixels import Pixels, crop_to_multiple, quantise
from srcli.methods import Method, interpolator

PROTOCOL = "y-crop"
TOLERANCE = 0.02

# Mean PSNR-Y of bicubic by this protocol; the measured rows must agree before any figure is printed.
# Set5: the published rows. The samples: measured by the code that reproduces Set5's files and rows.
BICUBIC_SET5: dict[float, float] = {2: 33.673, 3: 30.403, 4: 28.429}
BICUBIC_SAMPLES: dict[float, float] = {2: 31.860, 3: 29.410, 4: 27.942}


class Score(NamedTuple):
    """PSNR in dB and SSIM, both of luma."""

    psnr_y: float
    ssim_y: float


@dataclass(frozen=True)
class ImageScore:
    """One method on one image; `seconds` is the wall time of the method alone."""

    dataset: str
    scale: float
    method: str
    image: str
    psnr_y: float
    ssim_y: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One method on one data set at one scale: means over its images; `params` counts weights."""

    dataset: str
    scale: float
    method: str
    images: int
    psnr_y: float
    ssim_y: float
    seconds_per_image: float
    params: int


@dataclass(frozen=True)
class Results:
    """Rows and the scores they are means of, under the protocol that made them."""

    rows: tuple[Row, ...]
    images: tuple[ImageScore, ...]
    protocol: str = PROTOCOL


def compared_plane(pixels: Pixels, border: int, grey: bool = False) -> NDArray[np.floating]:
    """What is compared: 8-bit samples without `border` pixels, as BT.601 luma over 255.

    One-channel files are compared by their grey values as they are, as the papers' scripts do.
    """
    inner = pixels[border : pixels.shape[0] - border, border : pixels.shape[1] - border]
    samples = quantise(inner.astype(np.float64)) / 255
    return samples[..., 0] if grey else luma(samples)


def score(sr: Pixels, hr: Pixels, border: int, grey: bool = False) -> Score:
    """PSNR-Y and SSIM-Y of (H, W, 3) images of equal size, `border` pixels cut from every side."""
    a, b = compared_plane(sr, border, grey), compared_plane(hr, border, grey)
    if min(a.shape) < 11:
        raise DatasetError(f"an image of {hr.shape[1]}x{hr.shape[0]} is too small to score", "SSIM needs 11")
    return Score(psnr(a, b), ssim(a, b))


def border_of(scale: float) -> int:
    """Pixels cut from every side: as many as the scale, or the next whole number."""
    return math.ceil(scale)


def score_picture(method: Method, picture: Picture, scale: float, dataset: str = "") -> ImageScore:
    """One method on one image: degraded by bicubic, enlarged, timed, scored."""
    hr = crop_to_multiple(picture.pixels, scale)
    lr = bicubic_lr(hr, scale)
    start = time.perf_counter()
    sr = method(lr, scale)
    seconds = time.perf_counter() - start
    return ImageScore(
        dataset, scale, method.name, picture.name, *score(sr, hr, border_of(scale), picture.grey), seconds
    )


def mean_row(scores: list[ImageScore], params: int) -> Row:
    """The row of one method on one data set at one scale."""
    first = scores[0]
    return Row(
        first.dataset,
        first.scale,
        first.method,
        len(scores),
        float(np.mean([s.psnr_y for s in scores])),
        float(np.mean([s.ssim_y for s in scores])),
        float(np.mean([s.seconds for s in scores])),
        params,
    )


def evaluate(method: Method, pictures: Iterable[Picture], scale: float) -> Row:
    """Mean scores of one method, for validation during training."""
    return mean_row([score_picture(method, picture, scale) for picture in pictures], method.params)


MethodsAt = Callable[[float], list[Method]]
Progress = Callable[[ImageScore], None]


def bench(
    datasets: Iterable[Dataset], scales: Collection[float], methods_at: MethodsAt, progress: Progress
) -> Results:
    """Every method on every image of every data set; `methods_at` gives the methods of a scale.

    Raises `ProtocolError` where the bicubic row of the bundled samples, checked before anything else,
    or that of Set5 is not what the protocol's is.
    """
    self_check(scales)
    rows: list[Row] = []
    images: list[ImageScore] = []
    jobs = ((dataset, scale) for dataset in datasets for scale in scales)
    for dataset, scale in jobs:
        for scored, params in _scores(dataset, scale, methods_at(scale), progress):
            rows.append(mean_row(scored, params))
            images.extend(scored)
            check_set5(rows[-1])
    return Results(tuple(rows), tuple(images))


def _scores(
    dataset: Dataset, scale: float, methods: list[Method], progress: Progress
) -> Iterator[tuple[list[ImageScore], int]]:
    """The scores of each method; images are read one at a time."""
    columns: list[list[ImageScore]] = [[] for _ in methods]
    for picture in dataset.pictures():
        try:
            for column, method in zip(columns, methods, strict=True):
                column.append(score_picture(method, picture, scale, dataset.name))
                progress(column[-1])
        except SrError as error:
            raise DatasetError(f"{picture.name} of {dataset.name}: {error.message}", error.hint) from error
    yield from ((column, method.params) for column, method in zip(columns, methods, strict=True))


def self_check(scales: Collection[float]) -> None:
    """Raise `ProtocolError` where bicubic on the bundled samples is not what it was when Set5's was right."""
    for scale in sorted(BICUBIC_SAMPLES.keys() & set(scales)):
        row = evaluate(interpolator("bicubic"), samples().pictures(), scale)
        _compare(row, "the samples", BICUBIC_SAMPLES, "this installation computes wrongly: reinstall sr")


def check_set5(row: Row) -> None:
    """Raise `ProtocolError` where a row is bicubic on Set5 and not the protocol's."""
    if (row.dataset, row.method, row.images) == ("Set5", "bicubic", 5):
        hint = "these are not the images of the papers: re-download Set5, or rename the folder"
        _compare(row, "Set5", BICUBIC_SET5, hint)


def _compare(row: Row, name: str, reference: dict[float, float], hint: str) -> None:
    expected = reference.get(row.scale, row.psnr_y)
    if abs(row.psnr_y - expected) > TOLERANCE:
        found = f"bicubic x{row.scale:g} on {name} gives {row.psnr_y:.3f} dB"
        raise ProtocolError(f"{found}, protocol {PROTOCOL}: {expected:.3f}", hint)
