"""Blind: the blur of an image, from how its detail fades compared with that of its own smaller copy.

Images look alike at every size: their content recurs in a smaller copy. Its power spectrum falls with some
power of the frequency; that of a blur falls like a bell curve. For y = D (k * x), s times
smaller than x, and y' = D y, t times smaller again, with P the mean power at a frequency f per pixel of each,

    log P(y, f) - log P(y', f) = c + 2 log |K(f / s)| - 2 log |K(f / (s t))|

where K is the transform of k. With a Gaussian for k, of covariance C in pixels of x, the right side is
c - 4 pi^2 (1 - 1 / t^2) f' C f / s^2: linear in c and in the three numbers of C, so least squares solve it.

That the right kernel is the one that makes an image most like its smaller self: Michaeli and Irani,
Nonparametric Blind Super-Resolution, ICCV 2013, https://doi.org/10.1109/ICCV.2013.121. KernelGAN has a
network learn to tell patches of y and D (k * y) apart, https://arxiv.org/abs/1909.06581, which a prior on
kernels makes stable, https://arxiv.org/abs/2103.15977. Here the prior is a bell, and only the power of
patches is compared.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from srcli.imaging.color import luma
from srcli.imaging.degrade.kernels import BellKernel, choose_kernel_size
from srcli.imaging.resize import resize
from srcli.methods.classical.problem import ROUNDING, Problem

# Smallest side that holds enough squares; t; side in pixels of the squares whose power is averaged.
SMALLEST, SMALLER, SQUARE = 96, 1.5, 32
# Frequencies used, per pixel, and how far above the noise of 8-bit rounding their power has to be.
BAND, CLEAR = (0.05, 0.45), 3
# Variance in pixels of y below which an image counts as sharp: estimates for sharp images come near it.
LEAST = 0.1
# The smallest standard deviation across, in pixels of x; it is as good as none.
THIN = 0.2

Plane = NDArray[np.float64]


def estimate_blur(problem: Problem) -> BellKernel | None:
    """Estimate the blur of the image of `problem` at its large size; None if it is sharp or too small."""
    if min(problem.sides) < SMALLEST:
        return None
    small = problem.small
    plane = small[..., 0] if small.shape[2] == 1 else luma(small)
    (across, along), axes = np.linalg.eigh(estimate_covariance(np.asarray(plane, np.float64)))
    if along < LEAST:
        return None
    sigma = problem.scale * math.sqrt(along)
    thin = max(THIN, problem.scale * math.sqrt(max(0.0, across)))
    return BellKernel(choose_kernel_size(sigma), sigma, thin, math.atan2(axes[1, 1], axes[0, 1]))


def estimate_covariance(plane: Plane) -> Plane:
    """Estimate the covariance of the blur of (H, W), by x and y, in squared pixels; negative if oversharp."""
    height, width = plane.shape
    size = round(height / SMALLER), round(width / SMALLER)
    less = np.asarray(resize(np.asarray(plane[..., None], np.float32), *size)[..., 0], np.float64)
    own, other = _power(plane), _power(less)
    y, x = np.meshgrid(*[np.fft.fftfreq(SQUARE)] * 2, indexing="ij")
    radius = np.hypot(y, x)
    clear = (radius >= BAND[0]) & (radius <= BAND[1]) & (np.minimum(own, other) > CLEAR * ROUNDING)
    if clear.sum() < SQUARE:
        return np.zeros((2, 2))
    fall = -4 * math.pi**2 * (1 - 1 / SMALLER**2)
    columns = np.stack([np.ones_like(x), fall * x * x, fall * 2 * x * y, fall * y * y], -1)[clear]
    ratio = np.log(own[clear] - ROUNDING) - np.log(other[clear])
    _, xx, xy, yy = np.linalg.lstsq(columns, ratio)[0]
    return np.array([[xx, xy], [xy, yy]])


def _power(plane: Plane) -> Plane:
    """Return the mean power of half-overlapping squares by frequency: (SQUARE, SQUARE)."""
    half = SQUARE // 2
    rows = sliding_window_view(plane, (SQUARE, SQUARE))[::half, ::half]
    return np.asarray(np.mean([_mean_power(row) for row in rows], axis=0))


def _mean_power(squares: Plane) -> Plane:
    """Return the mean power of windowed squares (count, SQUARE, SQUARE); its variance for white noise."""
    side = np.hanning(SQUARE + 2)[1:-1]
    faded = np.outer(side, side) / np.sum(side**2)
    level = squares.mean(axis=(1, 2), keepdims=True)
    return np.asarray(np.mean(np.abs(np.fft.fft2((squares - level) * faded)) ** 2, axis=0))
