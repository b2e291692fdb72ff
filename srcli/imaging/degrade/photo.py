"""Degradations of photographs as people have them, from clean pictures to what messengers leave of them."""

from dataclasses import dataclass

from srcli.imaging.degrade.chains import BsrganChain, SecondOrderChain
from srcli.imaging.degrade.kernels import BellKernel, choose_kernel_size
from srcli.imaging.degrade.steps import (
    Filter,
    Jpeg,
    Plan,
    Poisson,
    Rng,
    Rounding,
    Span,
    Target,
    draw_seed,
    gaussian_noise,
)

_METHODS, _METHOD_SHARES = ("bicubic", "bilinear", "area", "lanczos"), (0.4, 0.2, 0.2, 0.2)
_KINDS, _SHARES = ("second-order", "bsrgan", "jpeg", "noise", "clean"), (0.28, 0.12, 0.33, 0.15, 0.12)
_BLUR = Span(0.15, 0.8)
# 8-bit levels in the middle of the range; photon noise of scale 1 has 11.3 there.
_NOISE, _PHOTONS = Span(1, 12), 11.3


@dataclass(frozen=True)
class PhotoDegradation:
    """A mixture: published chains (40 %), JPEG once or twice (33 %), sensor noise (15 %), clean (12 %)."""

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw the kind, then its steps."""
        kind = _KINDS[rng.choice(len(_KINDS), p=_SHARES)]
        if kind == "second-order":
            return SecondOrderChain().plan(target, rng)
        if kind == "bsrgan":
            return BsrganChain().plan(target, rng)
        method = _METHODS[rng.choice(len(_METHODS), p=_METHOD_SHARES)]
        small = (target.downscale_step(method), Rounding())
        if kind == "clean":
            return small
        return (*small, *_draw_blur(rng), *(_draw_saves(rng) if kind == "jpeg" else _draw_sensor(rng)))


def _draw_blur(rng: Rng) -> Plan:
    if rng.random() < 0.5:
        return ()
    sigma = _BLUR.draw(rng)
    return (Filter(BellKernel(choose_kernel_size(sigma), sigma, sigma)), Rounding())


def _draw_saves(rng: Rng) -> Plan:
    """Draw JPEG; in two of five cases it is saved again, with blocks at another place, as after cropping."""
    first = Jpeg(Span(30, 95).draw_integer(rng), subsampled=bool(rng.random() < 0.7))
    again = Jpeg(Span(45, 95).draw_integer(rng), shift=int(rng.integers(8)))
    return (first, again) if rng.random() < 0.4 else (first,)


def _draw_sensor(rng: Rng) -> Plan:
    """Draw noise, even or stronger in the light, grey or coloured, and a JPEG over half of it."""
    level, grey = _NOISE.draw(rng), bool(rng.random() < 0.5)
    even = gaussian_noise(level, rng, grey=grey)
    noise = even if rng.random() < 0.5 else Poisson(level / _PHOTONS, grey, draw_seed(rng))
    saved = (Jpeg(Span(70, 95).draw_integer(rng)),) if rng.random() < 0.5 else ()
    return (noise, Rounding(), *saved)
