"""Metrics by name: what each measures on a result and its ground truth, and which direction is better."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srcli.bench import pyiqa_metrics
from srcli.errors import DatasetError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.metrics import full_reference, niqe
from srcli.imaging.pixels import Pixels, quantise

Better = Literal["higher", "lower", "near one"]
Plane = NDArray[np.floating]

_BAND = 64


class Score(NamedTuple):
    """PSNR in dB and SSIM, both of luma."""

    psnr_y: float
    ssim_y: float


def crop_samples(pixels: Pixels, border: int) -> Plane:
    """Return 8-bit samples (H, W, 3) over 255, without `border` pixels on each side."""
    inner = pixels[border : pixels.shape[0] - border, border : pixels.shape[1] - border]
    return np.asarray(quantise(inner.astype(np.float64)) / 255)


def crop_luma(pixels: Pixels, border: int, grey: bool = False) -> Plane:
    """Return the BT.601 luma (H, W) over 255 of 8-bit samples, without `border` pixels on each side.

    Images of one-channel files are compared by their grey values unchanged, as the papers' scripts do.
    """
    last = pixels.shape[0] - border
    # In bands that the caches of processors hold: whole planes of doubles took twice the time.
    bands = [pixels[top : min(top + _BAND, last)] for top in range(border, last, _BAND)]
    return np.concatenate(
        [_convert_to_luma(band[:, border : pixels.shape[1] - border], grey) for band in bands]
    )


def _convert_to_luma(pixels: Pixels, grey: bool) -> Plane:
    samples = crop_samples(pixels, 0)
    return samples[..., 0] if grey else luma(samples)


@dataclass(frozen=True)
class Pair:
    """A result and its ground truth (H, W, 3), and what the result was made from.

    `border` pixels are cut from each side; `grey`: the truth's file has one channel; `reduce` makes a low
    resolution from the result in the way `lr` was made from the truth.
    """

    sr: Pixels
    hr: Pixels
    border: int
    grey: bool = False
    lr: Pixels | None = None
    reduce: Callable[[Pixels], Pixels] | None = None

    @cached_property
    def y(self) -> tuple[Plane, Plane]:
        """Luma (H, W) of both, quantised and cropped."""
        sr, hr = (crop_luma(side, self.border, self.grey) for side in (self.sr, self.hr))
        return sr, hr

    @cached_property
    def rgb(self) -> tuple[Plane, Plane]:
        """All channels (H, W, 3) of both, quantised and cropped."""
        return crop_samples(self.sr, self.border), crop_samples(self.hr, self.border)


@dataclass(frozen=True)
class Column:
    """The presentation of a metric."""

    key: Annotated[str, "name of its field in rows and images"]
    heading: Annotated[str, "heading in tables"]
    digits: Annotated[int, "decimal places in tables"]
    better: Annotated[Better, "which values are better"]

    @property
    def name(self) -> str:
        """The name that `--metric` takes."""
        return self.key.replace("_", "-")

    def rank(self, value: float) -> float:
        """Return a number that is smaller the better `value` is."""
        return {"higher": -value, "lower": value, "near one": abs(value - 1)}[self.better]

    def format(self, value: float) -> str:
        """Return `value` as tables show it."""
        return f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Metric(Column):
    """A column and how to measure it on a `Pair`; `min_side` is the smallest image side in pixels."""

    measure: Callable[[Pair], float]
    min_side: int = 1

    @property
    def column(self) -> Column:
        """The part of the metric that tables and result files need."""
        return Column(self.key, self.heading, self.digits, self.better)


def _measure_lr_consistency(pair: Pair) -> float:
    """Return PSNR in dB, over all channels, between the input and the result reduced like the input was."""
    if pair.lr is None or pair.reduce is None:
        return float("nan")
    reduced = pair.reduce(np.clip(pair.sr, 0, 1))
    return full_reference.psnr(crop_samples(reduced, 0), crop_samples(pair.lr, 0))


def _measure_mse(a: Plane, b: Plane) -> float:
    """Return the mean squared error in squared 8-bit levels."""
    return full_reference.mse(a, b) * 255**2


_WINDOW, _LARGE = 11, full_reference.MS_SSIM_LEAST
BUILT_IN = {
    metric.name: metric
    for metric in (
        Metric("psnr_y", "PSNR-Y", 2, "higher", lambda pair: full_reference.psnr(*pair.y)),
        Metric("ssim_y", "SSIM-Y", 4, "higher", lambda pair: full_reference.ssim(*pair.y), _WINDOW),
        Metric("psnr_rgb", "PSNR-RGB", 2, "higher", lambda pair: full_reference.psnr(*pair.rgb)),
        Metric("ssim_rgb", "SSIM-RGB", 4, "higher", lambda pair: full_reference.ssim(*pair.rgb), _WINDOW),
        Metric("mse_y", "MSE-Y", 2, "lower", lambda pair: _measure_mse(*pair.y)),
        Metric("mse_rgb", "MSE-RGB", 2, "lower", lambda pair: _measure_mse(*pair.rgb)),
        Metric("ms_ssim_y", "MS-SSIM-Y", 4, "higher", lambda pair: full_reference.ms_ssim(*pair.y), _LARGE),
        Metric(
            "ms_ssim_rgb", "MS-SSIM-RGB", 4, "higher", lambda pair: full_reference.ms_ssim(*pair.rgb), _LARGE
        ),
        Metric("niqe", "NIQE", 3, "lower", lambda pair: niqe.niqe(pair.y[0]), 2 * niqe.PATCH),
        Metric("lr_consistency", "LR-PSNR", 2, "higher", _measure_lr_consistency),
        Metric("sharpness", "sharpness", 3, "near one", lambda pair: full_reference.sharpness(*pair.y), 3),
    )
}
PSNR_Y, SSIM_Y = BUILT_IN["psnr-y"], BUILT_IN["ssim-y"]
# Without a suffix, a name stands for luma and RGB.
_BOTH = {name: (f"{name}-y", f"{name}-rgb") for name in ("psnr", "ssim", "mse", "ms-ssim")}


def find_metrics(name: str, device: str | None = None) -> list[Metric]:
    """Return the metrics of that name, built in or from pyiqa.

    Raises `UsageError` for unknown names, `SrError` if pyiqa knows the metric but cannot load it.
    """
    if name == "all":
        return list(BUILT_IN.values())
    known = [BUILT_IN[each] for each in _BOTH.get(name, (name,)) if each in BUILT_IN]
    if known:
        return known
    if not pyiqa_metrics.is_installed():
        near = difflib.get_close_matches(name, [*BUILT_IN, *_BOTH], 1, 0.75)
        guess = f"did you mean '{near[0]}'? " if near else ""
        built_in = ", ".join([*_BOTH, *list(BUILT_IN)[-3:]])
        hint = f"{guess}built in: {built_in}; LPIPS, DISTS and others need pyiqa: {pyiqa_metrics.INSTALL}"
        raise UsageError(f"no built-in metric is called '{name}'", hint)
    loaded = pyiqa_metrics.load_metric(name, device)
    return [
        Metric(
            name.replace("-", "_"),
            name.upper(),
            4,
            "lower" if loaded.lower else "higher",
            lambda pair: loaded.measure(*(side.astype(np.float32) for side in pair.rgb)),
            32,
        )
    ]


def compute_border(scale: float) -> int:
    """Return how many pixels are cut from each side: the scale, rounded up."""
    return math.ceil(scale)


def check_size(height: int, width: int, border: int, min_side: int) -> None:
    """Raise `DatasetError` if an image of that size, without its border, has a side below `min_side`."""
    if min(height, width) - 2 * border < min_side:
        need = f"SSIM needs {min_side}" if min_side == _WINDOW else f"one of the metrics needs {min_side}"
        raise DatasetError(f"an image of {width}x{height} is too small to score", f"{need} pixels")


def score(sr: Pixels, hr: Pixels, border: int, grey: bool = False) -> Score:
    """Return PSNR-Y and SSIM-Y of (H, W, 3) images of equal size, without `border` pixels on each side."""
    check_size(hr.shape[0], hr.shape[1], border, _WINDOW)
    pair = Pair(sr, hr, border, grey)
    return Score(PSNR_Y.measure(pair), SSIM_Y.measure(pair))
