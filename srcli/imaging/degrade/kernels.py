"""Blur kernels by their parameters: bells of several shapes, the circular sinc, and kernels from files.

Shapes and formulas: Real-ESRGAN, https://arxiv.org/abs/2107.10833, section 3 and appendix.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcli.errors import ImageError
from srcli.imaging.codecs.reading import check_readable
from srcli.imaging.codecs.registry import is_image
from srcli.imaging.image import read_image

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class BellKernel:
    """A Gaussian bell, generalised or with a plateau, on a grid of odd `size`.

    `sigma` and `sigma2` are the deviations in pixels along the axes, which are turned by `angle` in radians.
    With q the squared distance in deviations, the weight is exp(-q**power / 2), or 1 / (1 + q**power) for a
    `plateau`. `shift` moves the centre to the bottom right, in pixels.
    """

    size: int
    sigma: float
    sigma2: float
    angle: float = 0.0
    power: float = 1.0
    plateau: bool = False
    shift: float = 0.0

    def weights(self) -> Weights:
        """Return weights (size, size) that sum to one."""
        y, x = (axis - self.shift for axis in _grid(self.size))
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        q = ((cos * x + sin * y) / self.sigma) ** 2 + ((cos * y - sin * x) / self.sigma2) ** 2
        return _normalise(1 / (1 + q**self.power) if self.plateau else np.exp(-(q**self.power) / 2))


@dataclass(frozen=True)
class SincKernel:
    """The ideal circular low-pass with `cutoff` (radians, at most pi), cut to odd `size`; edges ring."""

    size: int
    cutoff: float

    def weights(self) -> Weights:
        """Return weights (size, size) that sum to one; some are negative."""
        radius = np.hypot(*_grid(self.size))
        centre = radius == 0
        around = self.cutoff * _bessel_j1(self.cutoff * radius) / (2 * np.pi * np.where(centre, 1, radius))
        return _normalise(np.where(centre, self.cutoff**2 / (4 * np.pi), around))


@dataclass(frozen=True)
class CustomKernel:
    """A square kernel as rows of weights, with an odd number of rows."""

    rows: tuple[tuple[float, ...], ...]

    @property
    def size(self) -> int:
        """Pixels on a side."""
        return len(self.rows)

    def weights(self) -> Weights:
        """Return weights (size, size) that sum to one."""
        return _normalise(np.array(self.rows, np.float64))


BlurKernel = BellKernel | SincKernel | CustomKernel


def _grid(size: int) -> tuple[Weights, Weights]:
    y, x = np.indices((size, size)) - (size - 1) / 2
    return y, x


def _normalise(weights: Weights) -> Weights:
    return np.asarray(weights / weights.sum())


def _bessel_j1(x: Weights) -> Weights:
    """Compute the Bessel function J1 by its integral over a period, exact to rounding for x below 90.

    SciPy has it too, but is not a dependency.
    """
    t = np.arange(128) * (2 * np.pi / 128)
    return np.asarray(np.cos(t - x[..., None] * np.sin(t)).mean(axis=-1))


def load_kernel(path: Path) -> CustomKernel:
    """Load a point spread function from a .npy file, an image or a text of numbers, turned for correlation.

    Raises `ImageError` if the file holds none.
    """
    check_readable(path)
    weights = _pad_to_square(_read_numbers(path), path)
    return CustomKernel(tuple(tuple(float(value) for value in row) for row in weights[::-1, ::-1]))


def _read_numbers(path: Path) -> Weights:
    if is_image(path):
        return np.asarray(read_image(path).pixels.mean(axis=2, dtype=np.float64))
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
        return np.asarray(values, np.float64)
    except (ValueError, OSError, EOFError, TypeError) as error:
        reason = f"{path} holds no kernel: {str(error).splitlines()[0]}"
        raise ImageError(reason, "give a .npy file, an image or a text of numbers") from error


def _pad_to_square(weights: Weights, path: Path) -> Weights:
    """Pad with zeros at the bottom and right until both sides are the same odd number."""
    if weights.ndim != 2 or not np.isfinite(weights).all() or weights.sum() <= 0:
        raise ImageError(f"{path} holds no kernel", "it must be a table of numbers with a positive sum")
    side = max(weights.shape) // 2 * 2 + 1
    return np.pad(weights, [(0, side - length) for length in weights.shape])


def choose_kernel_size(sigma: float) -> int:
    """Return the odd size that holds three deviations on either side."""
    return 2 * math.ceil(3 * sigma) + 1
