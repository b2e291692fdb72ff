"""Degradations by name: from a high-resolution image to the low-resolution one that methods upscale."""

from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from srcli.errors import ImageError, UsageError
from srcli.imaging.degrade.chains import BsrganChain, SecondOrderChain
from srcli.imaging.degrade.kernels import BellKernel, CustomKernel, choose_kernel_size, load_kernel
from srcli.imaging.degrade.photo import PhotoDegradation
from srcli.imaging.degrade.steps import (
    METHODS,
    Decimation,
    Filter,
    Jpeg,
    Plan,
    Poisson,
    Rng,
    Rounding,
    Span,
    Target,
    apply_plan,
    draw_seed,
    gaussian_noise,
)
from srcli.imaging.pixels import Pixels, crop_to_multiple, max_multiple
from srcli.imaging.resize import resize_8bit


class Degradation(Protocol):
    """A degradation that draws a plan for each image."""

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw the steps for an image whose sides are multiples of the scale."""
        ...


def _check_down(method: str) -> None:
    if method not in METHODS:
        raise UsageError(f"no downscaling method called '{method}'", f"available: {', '.join(METHODS)}")


def _check_span(name: str, span: Span, low: float, high: float) -> None:
    if not low <= span.low <= span.high <= high:
        raise UsageError(f"{name} cannot be {span}", f"use a value within {low:g}..{high:g}")


@dataclass(frozen=True)
class BicubicDegradation:
    """MATLAB's 8-bit bicubic, antialiased: the papers' protocol.

    `aliased`: the share of images that keep single pixels instead, 0..1. Their edges are as hard as those of
    drawings and screenshots; networks that never saw such edges may put specks beside them.
    """

    aliased: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.aliased <= 1:
            raise UsageError(f"aliased cannot be {self.aliased:g}", "use a share within 0..1")

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Return the one step: bicubic, or one of the pixels nearest to the middle of each block."""
        if self.aliased and rng.random() < self.aliased:
            middle = (target.scale - 1) // 2 + int(rng.integers(2 - target.scale % 2))
            return (Decimation(target.scale, middle),)
        return (target.downscale_step("bicubic", rounded=True),)


@dataclass(frozen=True)
class BilinearDegradation:
    """MATLAB's 8-bit bilinear, antialiased."""

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Return the one step; nothing is random."""
        return (target.downscale_step("bilinear", rounded=True),)


@dataclass(frozen=True)
class BlurDegradation:
    """A Gaussian blur and downscaling; `sigma` in pixels of the large image.

    `sigma2` is the deviation across, 0 for the same; `angle` is in degrees; `size` is that of the kernel, 0
    for three deviations. `blur,sigma=1.6,size=7` is BD in papers.
    """

    sigma: Span = field(default=Span(1.6, 1.6))
    sigma2: Span = field(default=Span(0, 0))
    angle: Span = field(default=Span(0, 0))
    size: int = 0
    down: str = "bicubic"

    def __post_init__(self) -> None:
        _check_span("sigma", self.sigma, 0.05, 50)
        _check_span("sigma2", self.sigma2, 0, 50)
        _check_down(self.down)
        if self.size < 0 or (self.size and self.size % 2 == 0):
            raise UsageError(
                f"size cannot be {self.size}", "use an odd number, or 0 for three standard deviations"
            )

    def plan(self, target: Target, rng: Rng) -> Plan:
        """BlurDegradation, reduction, rounding."""
        sigma, across = self.sigma.draw(rng), self.sigma2.draw(rng)
        across = across or sigma
        size = self.size or choose_kernel_size(max(sigma, across))
        kernel = BellKernel(size, sigma, across, float(np.radians(self.angle.draw(rng))))
        return (Filter(kernel), target.downscale_step(self.down), Rounding())


@dataclass(frozen=True)
class CameraDegradation:
    """A camera: the point spread function in a file, downscaling, and noise of `sigma` levels."""

    kernel: CustomKernel
    sigma: Span = field(default=Span(0, 0))
    down: str = "bicubic"

    def __post_init__(self) -> None:
        _check_span("sigma", self.sigma, 0, 255)
        _check_down(self.down)

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Plan blur, downscaling, optional noise and rounding."""
        sigma = self.sigma.draw(rng)
        noise = (gaussian_noise(sigma, rng),) if sigma else ()
        return (Filter(self.kernel), target.downscale_step(self.down), *noise, Rounding())


@dataclass(frozen=True)
class NoiseDegradation:
    """Downscaling, then Gaussian noise of `sigma` 8-bit levels and `poisson` times photon noise.

    `noise,sigma=30` is DN in papers.
    """

    sigma: Span = field(default=Span(10, 10))
    poisson: Span = field(default=Span(0, 0))
    grey: bool = False
    down: str = "bicubic"

    def __post_init__(self) -> None:
        _check_span("sigma", self.sigma, 0, 255)
        _check_span("poisson", self.poisson, 0, 100)
        _check_down(self.down)

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw downscaling, photon noise unless it is 0, Gaussian noise, and rounding."""
        scale = self.poisson.draw(rng)
        photons = (Poisson(scale, self.grey, draw_seed(rng)),) if scale else ()
        return (
            target.downscale_step(self.down),
            *photons,
            gaussian_noise(self.sigma.draw(rng), rng, grey=self.grey),
            Rounding(),
        )


@dataclass(frozen=True)
class JpegDegradation:
    """Downscaling, then JPEG compression."""

    quality: Span = field(default=Span(40, 40))
    down: str = "bicubic"

    def __post_init__(self) -> None:
        _check_span("quality", self.quality, 1, 100)
        _check_down(self.down)

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw downscaling and JPEG."""
        return (target.downscale_step(self.down), Jpeg(self.quality.draw_integer(rng)))


FAMILIES: dict[str, type[Degradation]] = {
    "bicubic": BicubicDegradation,
    "bilinear": BilinearDegradation,
    "blur": BlurDegradation,
    "camera": CameraDegradation,
    "noise": NoiseDegradation,
    "jpeg": JpegDegradation,
    "bsrgan": BsrganChain,
    "second-order": SecondOrderChain,
    "photo": PhotoDegradation,
}


def parse_degradation(text: str) -> Degradation:
    """Parse a degradation written as `name`, `name,key=value,key=low..high` or `camera:file`.

    Raises `UsageError` for unknown names and values, `ImageError` for a file without a kernel.
    """
    head, *assignments = text.split(",")
    name, _, file = head.partition(":")
    if name not in FAMILIES:
        raise UsageError(f"no degradation called '{name}'", f"available: {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    values = dict(_parse_assignment(family, name, assignment) for assignment in assignments)
    wants_file = any(f.default is MISSING for f in _fields(family))
    if wants_file != bool(file):
        hint = f"write {name}:kernel.npy" if wants_file else f"write '{name}', and settings as ,key=value"
        raise UsageError(f"'{text}' {'needs a' if wants_file else 'takes no'} file", hint)
    return family(**values, **({"kernel": load_kernel(Path(file))} if file else {}))


def _fields(family: type[Degradation]) -> Iterable[Field[Any]]:
    return fields(family)  # type: ignore[arg-type]


def _parse_assignment(family: type[Degradation], name: str, assignment: str) -> tuple[str, Any]:
    key, _, value = assignment.partition("=")
    known = {f.name: f for f in _fields(family) if isinstance(f.default, Span | float | int | str)}
    if key not in known:
        there_are = f"available: {', '.join(known)}" if known else "it has no settings"
        raise UsageError(f"'{name}' has no setting '{key}'", there_are)
    try:
        return key, _convert(known[key].default, value)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{key} cannot be '{value}'", f"for example {key}={_format(known[key].default)}"
        ) from error


def _convert(default: Any, value: str) -> Any:
    """Convert a text to the type of the default that it replaces."""
    if isinstance(default, Span):
        low, _, high = value.partition("..")
        return Span(float(low), float(high or low))
    if isinstance(default, bool):
        return {"yes": True, "no": False}[value]
    return type(default)(value)


def _format(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def degrade_image(hr: Pixels, scale: int, degradation: Degradation, rng: Rng) -> Pixels:
    """Degrade `hr`, cropped to a multiple of `scale` first, to 8-bit levels.

    Raises `ImageError` if nothing would be left.
    """
    cropped = _crop(hr, scale)
    return apply_plan(cropped, degradation.plan(Target(cropped.shape[0], cropped.shape[1], scale), rng))


def downscale_bicubic(hr: Pixels, scale: float) -> Pixels:
    """Downscale `hr` by MATLAB's 8-bit bicubic, cropped to a multiple of `scale` first.

    Raises `ImageError` if nothing would be left.
    """
    cropped = _crop(hr, scale)
    return resize_8bit(cropped, max_multiple(hr.shape[0], scale), max_multiple(hr.shape[1], scale))


def _crop(hr: Pixels, scale: float) -> Pixels:
    cropped = crop_to_multiple(hr, scale)
    if 0 in cropped.shape:
        size = f"{hr.shape[1]}x{hr.shape[0]}"
        raise ImageError(f"an image of {size} cannot be downscaled by {scale:g}", "use a larger one")
    return cropped
