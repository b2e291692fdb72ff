"""Random chains of degradations with the ranges their authors published: BSRGAN's and Real-ESRGAN's.

https://arxiv.org/abs/2103.14006, https://arxiv.org/abs/2107.10833
"""

from dataclasses import dataclass

import numpy as np

from srcli.imaging.degrade.kernels import BellKernel, BlurKernel, SincKernel
from srcli.imaging.degrade.steps import (
    Decimation,
    Filter,
    Jpeg,
    Noise,
    Plan,
    Poisson,
    Resizing,
    Rng,
    Rounding,
    Span,
    Target,
    draw_seed,
    gaussian_noise,
)

_METHODS = ("linear", "cubic", "area")


@dataclass(frozen=True)
class BsrganChain:
    """BSRGAN's chain in random order: two blurs, two reductions, noise, JPEG; JPEG again at the end.

    Ranges: https://github.com/cszn/BSRGAN, `degradation_bsrgan`. Its camera step needs a network, and is
    skipped there, too, without one.
    """

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw the steps in one of the 360 orders in which the second reduction follows the first."""
        start, scale = self._halve(target, rng)
        parts: list[Plan] = [
            (Filter(_draw_bsrgan_kernel(scale, rng)),),
            (Filter(_draw_bsrgan_kernel(scale, rng)),),
            (_draw_bsrgan_noise(rng),),
            (_draw_jpeg(rng),) if rng.random() < 0.9 else (),
        ]
        height, width = (side * scale // target.scale for side in (target.height, target.width))
        size = Target(height, width, scale)
        reductions = iter([_draw_bsrgan_reduction(size, rng), (target.downscale_step(_draw_method(rng)),)])
        slots: list[Plan | None] = [*parts, None, None]
        order = [slots[i] for i in rng.permutation(len(slots))]
        shuffled = [step for slot in order for step in (next(reductions) if slot is None else slot)]
        return (*start, *shuffled, _draw_jpeg(rng))

    @staticmethod
    def _halve(target: Target, rng: Rng) -> tuple[Plan, int]:
        """Downscale by 2 first in a quarter of the cases at x4; return the steps and the remaining scale."""
        if target.scale != 4 or rng.random() >= 0.25:
            return (), target.scale
        method = _draw_method(rng) if rng.random() < 0.5 else "bicubic"
        return (Resizing(target.height // 2, target.width // 2, method),), 2


def _draw_method(rng: Rng) -> str:
    return _METHODS[int(rng.integers(len(_METHODS)))]


def _draw_jpeg(rng: Rng) -> Jpeg:
    return Jpeg(Span(30, 95).draw_integer(rng))


def _draw_bsrgan_kernel(scale: int, rng: Rng) -> BellKernel:
    size = 2 * int(rng.integers(2, 12)) + 3
    if rng.random() < 0.5:
        # Eigenvalues of the covariance; near 0 the bell would fall between the pixels.
        one, two = (max(0.1, float(np.sqrt((4 + scale) * rng.random()))) for _ in range(2))
        return BellKernel(size, one, two, float(rng.uniform(0, np.pi)))
    sigma = max(0.1, (2 + 0.2 * scale) * rng.random())
    return BellKernel(size, sigma, sigma)


def _draw_bsrgan_reduction(size: Target, rng: Rng) -> Plan:
    """Downscale to between the full size and half the target's, or blur with a shift and decimate."""
    if rng.random() < 0.75:
        zoom = 1 / rng.uniform(1, 2 * size.scale)
        return (_draw_resizing(size.height * zoom, size.width * zoom, rng),)
    sigma = rng.uniform(0.1, 0.6 * size.scale)
    return (Filter(BellKernel(25, sigma, sigma, shift=(size.scale - 1) / 2)), Decimation(size.scale))


def _draw_resizing(height: float, width: float, rng: Rng) -> Resizing:
    return Resizing(max(1, int(height)), max(1, int(width)), _draw_method(rng))


def _draw_bsrgan_noise(rng: Rng) -> Noise:
    """Draw noise of 2 to 25 levels: in colour, grey, or correlated between the channels."""
    sigma, kind = int(rng.integers(2, 26)), rng.random()
    if not 0.4 <= kind <= 0.6:
        return gaussian_noise(sigma, rng, grey=bool(kind < 0.4))
    basis, _ = np.linalg.qr(rng.random((3, 3)))
    covariance = np.abs((25 / 255) ** 2 * basis.T @ np.diag(rng.random(3)) @ basis)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return Noise(tuple((float(a), float(b), float(c)) for a, b, c in root), draw_seed(rng))


@dataclass(frozen=True)
class PassRanges:
    """Chances and ranges of one pass of Real-ESRGAN's chain.

    `blur` is the chance of a blur of deviation `sigma`, which is a sinc with chance `ringing`; `up` and
    `down` are the chances of resizing within `zoom`; `gaussian` is the chance of Gaussian noise of `noise`
    levels rather than of `photons` times photon noise, and `grey` that the noise is grey.
    """

    blur: float
    sigma: Span
    up: float
    down: float
    zoom: Span
    noise: Span
    photons: Span
    gaussian: float = 0.5
    grey: float = 0.4
    ringing: float = 0.1


@dataclass(frozen=True)
class SecondOrderChain:
    """Real-ESRGAN's chain: blur, resize, noise and JPEG, twice, and a final sinc before or after the JPEG.

    Ranges: https://github.com/xinntao/Real-ESRGAN, options/train_realesrnet_x4plus.yml. Qualities are
    integers, since a real encoder takes no others.
    """

    first: PassRanges = PassRanges(1.0, Span(0.2, 3), 0.2, 0.7, Span(0.15, 1.5), Span(1, 30), Span(0.05, 3))
    second: PassRanges = PassRanges(
        0.8, Span(0.2, 1.5), 0.3, 0.4, Span(0.3, 1.2), Span(1, 25), Span(0.05, 2.5)
    )
    ringing: float = 0.8

    def plan(self, target: Target, rng: Rng) -> Plan:
        """Draw about a dozen steps."""
        first = _plan_pass(self.first, target.height, target.width, rng)
        second = _plan_pass(self.second, target.height // target.scale, target.width // target.scale, rng)
        ringing = rng.random() < self.ringing
        final = (
            target.downscale_step(_draw_method(rng)),
            *((Filter(_draw_sinc(rng, np.pi / 3)),) if ringing else ()),
        )
        last = (*final, _draw_jpeg(rng)) if rng.random() < 0.5 else (_draw_jpeg(rng), *final)
        return (*first, _draw_jpeg(rng), *second, *last, Rounding())


def _plan_pass(chances: PassRanges, height: int, width: int, rng: Rng) -> Plan:
    """Plan one pass: blur, resize relative to `height` x `width`, and noise."""
    blur = (Filter(_draw_kernel(chances, rng)),) if rng.random() < chances.blur else ()
    zoom = _draw_zoom(chances, rng)
    return (*blur, _draw_resizing(height * zoom, width * zoom, rng), _draw_noise(chances, rng))


def _draw_zoom(chances: PassRanges, rng: Rng) -> float:
    kind = rng.random()
    if kind < chances.up:
        return float(rng.uniform(1, chances.zoom.high))
    return float(rng.uniform(chances.zoom.low, 1)) if kind < chances.up + chances.down else 1.0


def _draw_noise(chances: PassRanges, rng: Rng) -> Noise | Poisson:
    grey = bool(rng.random() < chances.grey)
    if rng.random() < chances.gaussian:
        return gaussian_noise(chances.noise.draw(rng), rng, grey=grey)
    return Poisson(chances.photons.draw(rng), grey, draw_seed(rng))


def _draw_kernel(chances: PassRanges, rng: Rng) -> BlurKernel:
    """Draw a sinc, or a bell: plain, generalised or with a plateau, round or not."""
    if rng.random() < chances.ringing:
        return _draw_sinc(rng, np.pi / 3, np.pi / 5)
    shape, round_ = _SHAPES[int(rng.choice(len(_SHAPES), p=_CHANCES))]
    one, two = chances.sigma.draw(rng), chances.sigma.draw(rng)
    low, high = _POWERS[shape]
    power = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    angle = float(rng.uniform(-np.pi, np.pi))
    return BellKernel(_draw_size(rng), one, one if round_ else two, angle, float(power), shape == "plateau")


_SHAPES = [(shape, round_) for shape in ("plain", "generalised", "plateau") for round_ in (True, False)]
_CHANCES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
_POWERS = {"plain": (1.0, 1.0), "generalised": (0.5, 4.0), "plateau": (1.0, 2.0)}


def _draw_size(rng: Rng) -> int:
    """Draw an odd size from 7 to 21."""
    return 2 * int(rng.integers(3, 11)) + 1


def _draw_sinc(rng: Rng, lowest: float, lowest_large: float | None = None) -> SincKernel:
    """Draw a sinc with a cut-off of at least `lowest`, or `lowest_large` for sizes from 13 on."""
    size = _draw_size(rng)
    low = lowest if lowest_large is None or size < 13 else lowest_large
    return SincKernel(size, float(rng.uniform(low, np.pi)))
