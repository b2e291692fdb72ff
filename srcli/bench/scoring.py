"""Metrics by name: what they see of a result and its truth, and which way is better."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srcli.bench import iqa
from srcli.errors import DatasetError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.metrics import full_reference, niqe
from srcli.imaging.pixels import Pixels, quantise

Better = Literal["higher", "lower", "near one"]
Plane = NDArray[np.floating]


class Score(NamedTuple):
    """PSNR in dB and SSIM, both of luma."""

    psnr_y: float
    ssim_y: float


def compared_samples(pixels: Pixels, border: int) -> Plane:
    """8-bit samples (H, W, 3) over 255, without `border` pixels on every side."""
    inner = pixels[border : pixels.shape[0] - border, border : pixels.shape[1] - border]
    return np.asarray(quantise(inner.astype(np.float64)) / 255)


def compared_plane(pixels: Pixels, border: int, grey: bool = False) -> Plane:
    """What is compared: 8-bit samples without `border` pixels, as BT.601 luma over 255.

    One-channel files are compared by their grey values as they are, as the papers' scripts do.
    """
    samples = compared_samples(pixels, border)
    return samples[..., 0] if grey else luma(samples)


@dataclass(frozen=True)
class Pair:
    """A result and its truth (H, W, 3), and what the result was made of.

    `border` pixels are cut from every side; `grey`: the truth's file has one channel; `reduce` makes a low
    resolution of the result as `lr` was made of the truth.
    """

    sr: Pixels
    hr: Pixels
    border: int
    grey: bool = False
    lr: Pixels | None = None
    reduce: Callable[[Pixels], Pixels] | None = None

    @cached_property
    def y(self) -> tuple[Plane, Plane]:
        """Luma (H, W) of both, quantised and cut."""
        sr, hr = (compared_plane(side, self.border, self.grey) for side in (self.sr, self.hr))
        return sr, hr

    @cached_property
    def rgb(self) -> tuple[Plane, Plane]:
        """All channels (H, W, 3) of both, quantised and cut."""
        return compared_samples(self.sr, self.border), compared_samples(self.hr, self.border)


@dataclass(frozen=True)
class Column:
    """How a figure is shown: `key` names it in files, `heading` in tables, with `digits` behind the point."""

    key: str
    heading: str
    digits: int
    better: Better

    @property
    def name(self) -> str:
        """As `--metric` takes it."""
        return self.key.replace("_", "-")

    def rank(self, value: float) -> float:
        """A number that is smaller the better `value` is."""
        return {"higher": -value, "lower": value, "near one": abs(value - 1)}[self.better]

    def written(self, value: float) -> str:
        """As tables show it."""
        return f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Metric(Column):
    """A figure of a `Pair`; `least` is the smallest side in pixels that it can be told of."""

    measure: Callable[[Pair], float]
    least: int = 1

    @property
    def column(self) -> Column:
        """What tables need of it."""
        return Column(self.key, self.heading, self.digits, self.better)


def _consistency(pair: Pair) -> float:
    """PSNR in dB, over all channels, between the input and the result reduced as the input was."""
    if pair.lr is None or pair.reduce is None:
        return float("nan")
    again = pair.reduce(np.clip(pair.sr, 0, 1))
    return full_reference.psnr(compared_samples(again, 0), compared_samples(pair.lr, 0))


def _squared_levels(a: Plane, b: Plane) -> float:
    """Mean squared error in squared 8-bit levels."""
    return full_reference.mse(a, b) * 255**2


_WINDOW, _LARGE = 11, full_reference.MS_SSIM_LEAST
BUILT_IN = {
    metric.name: metric
    for metric in (
        Metric("psnr_y", "PSNR-Y", 2, "higher", lambda pair: full_reference.psnr(*pair.y)),
        Metric("ssim_y", "SSIM-Y", 4, "higher", lambda pair: full_reference.ssim(*pair.y), _WINDOW),
        Metric("psnr_rgb", "PSNR-RGB", 2, "higher", lambda pair: full_reference.psnr(*pair.rgb)),
        Metric("ssim_rgb", "SSIM-RGB", 4, "higher", lambda pair: full_reference.ssim(*pair.rgb), _WINDOW),
        Metric("mse_y", "MSE-Y", 2, "lower", lambda pair: _squared_levels(*pair.y)),
        Metric("mse_rgb", "MSE-RGB", 2, "lower", lambda pair: _squared_levels(*pair.rgb)),
        Metric("ms_ssim_y", "MS-SSIM-Y", 4, "higher", lambda pair: full_reference.ms_ssim(*pair.y), _LARGE),
        Metric(
            "ms_ssim_rgb", "MS-SSIM-RGB", 4, "higher", lambda pair: full_reference.ms_ssim(*pair.rgb), _LARGE
        ),
        Metric("niqe", "NIQE", 3, "lower", lambda pair: niqe.niqe(pair.y[0]), 2 * niqe.PATCH),
        Metric("lr_consistency", "LR-PSNR", 2, "higher", _consistency),
        Metric("sharpness", "sharpness", 3, "near one", lambda pair: full_reference.sharpness(*pair.y), 3),
    )
}
PSNR_Y, SSIM_Y = BUILT_IN["psnr-y"], BUILT_IN["ssim-y"]
# Without a plane, a name stands for both.
_BOTH = {name: (f"{name}-y", f"{name}-rgb") for name in ("psnr", "ssim", "mse", "ms-ssim")}


def find(name: str, device: str | None = None) -> list[Metric]:
    """The metrics of that name, built in or of pyiqa.

    Raises `UsageError` for names that nobody has, `SrError` for pyiqa's where it is not installed.
    """
    if name == "all":
        return list(BUILT_IN.values())
    known = [BUILT_IN[each] for each in _BOTH.get(name, (name,)) if each in BUILT_IN]
    if known:
        return known
    if not iqa.known():
        near = difflib.get_close_matches(name, [*BUILT_IN, *_BOTH], 1, 0.75)
        guess = f"did you mean '{near[0]}'? " if near else ""
        built_in = ", ".join([*_BOTH, *list(BUILT_IN)[-3:]])
        hint = f"{guess}built in: {built_in}; LPIPS, DISTS and others of pyiqa: {iqa.INSTALL}"
        raise UsageError(f"no built-in metric is called '{name}'", hint)
    found = iqa.judge(name, device)
    key = name.replace("-", "_")
    return [
        Metric(
            key,
            name.upper(),
            4,
            "lower" if found.lower else "higher",
            lambda pair: found.measure(*(side.astype(np.float32) for side in pair.rgb)),
            32,
        )
    ]


def border_of(scale: float) -> int:
    """Pixels cut from every side: as many as the scale, or the next whole number."""
    return math.ceil(scale)


def check_size(height: int, width: int, border: int, least: int) -> None:
    """Raise `DatasetError` where a truth of that size, without `border`, has a side that is too short."""
    if min(height, width) - 2 * border < least:
        hint = f"SSIM needs {least}" if least == _WINDOW else f"one of the metrics needs {least} pixels"
        raise DatasetError(f"an image of {width}x{height} is too small to score", hint)


def score(sr: Pixels, hr: Pixels, border: int, grey: bool = False) -> Score:
    """PSNR-Y and SSIM-Y of (H, W, 3) images of equal size, `border` pixels cut from every side."""
    check_size(hr.shape[0], hr.shape[1], border, _WINDOW)
    pair = Pair(sr, hr, border, grey)
    return Score(PSNR_Y.measure(pair), SSIM_Y.measure(pair))
