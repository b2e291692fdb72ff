"""The reduction of a large image to the small one that is given, as a linear operator with its adjoint.

The small image is modelled as D K x: the large one x filtered with a kernel (K, the identity where none is
known), then reduced as MATLAB's bicubic does (D).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.resize import KERNELS, compute_taps, sum_weighted

Values = NDArray[np.floating]
Side = tuple[int, int]


@dataclass(frozen=True)
class Axis:
    """One axis resized: each output is a sum of inputs (out, n) with weights (out, n)."""

    index: NDArray[np.intp]
    weights: NDArray[np.float64]

    def __call__(self, values: Values) -> Values:
        """Resize the first axis of `values`."""
        return sum_weighted(values, self.index, self.weights)

    def transpose(self, size: int) -> "Axis":
        """Return the transposed matrix, for outputs of length `size`, in the same form."""
        read = self.index.ravel()
        order = np.argsort(read, kind="stable")
        counts = np.bincount(read, minlength=size)
        place = np.arange(read.size) - np.repeat(np.cumsum(counts) - counts, counts)
        index = np.zeros((size, counts.max()), np.intp)
        weights = np.zeros(index.shape)
        index[read[order], place] = order // self.index.shape[1]
        weights[read[order], place] = self.weights.ravel()[order]
        return Axis(index, weights)

    @cached_property
    def row_sum(self) -> float:
        """The largest sum of absolute weights that one output has."""
        return float(np.abs(self.weights).sum(axis=1).max())


def make_axis(size: int, out: int) -> Axis:
    """Return bicubic resizing from `size` pixels to `out`."""
    return Axis(*compute_taps(size, out, KERNELS["bicubic"]))


@dataclass(frozen=True)
class Blur:
    """Correlation with a kernel (n, n), n odd; borders mirrored, the border pixel not repeated."""

    weights: NDArray[np.float64]

    @property
    def radius(self) -> int:
        """Reach of the kernel in pixels."""
        return len(self.weights) // 2

    def __call__(self, large: Values) -> Values:
        """Filter (H, W, C)."""
        r = self.radius
        padded = large[_mirror_indices(large.shape[0], r)][:, _mirror_indices(large.shape[1], r)]
        height, width = large.shape[:2]
        return _correlate(padded, self.weights)[r : r + height, r : r + width]

    def adjoint(self, large: Values) -> Values:
        """Apply the transposed filter: what leaves the image is folded back at its borders."""
        r = self.radius
        wide = np.pad(large, ((r, r), (r, r), (0, 0)))
        spread = _correlate(wide, self.weights[::-1, ::-1])
        tall = _fold_border(spread, r).swapaxes(0, 1)
        return np.ascontiguousarray(_fold_border(tall, r).swapaxes(0, 1))

    def bound(self, height: int, width: int) -> float:
        """Return an upper bound of the operator norm: the root of the largest row sum times column sum."""
        positive = Blur(np.abs(self.weights))
        columns = positive.adjoint(np.ones((height, width, 1)))
        return float(np.sqrt(positive.weights.sum() * columns.max()))


def _mirror_indices(size: int, radius: int) -> NDArray[np.intp]:
    """Return positions -radius..size+radius-1, mirrored into 0..size-1."""
    period = max(1, 2 * size - 2)
    folded = np.mod(np.arange(-radius, size + radius), period)
    return np.where(folded < size, folded, period - folded)


def _fold_border(padded: Values, radius: int) -> Values:
    """Apply the transpose of mirroring the first axis: each row beyond the border is added to its source."""
    size = padded.shape[0] - 2 * radius
    out = padded[radius : radius + size].copy()
    index = _mirror_indices(size, radius)
    for row in (*range(radius), *range(radius + size, size + 2 * radius)):
        out[index[row]] += padded[row]
    return out


def _correlate(padded: Values, weights: NDArray[np.float64]) -> Values:
    import cv2

    image = np.ascontiguousarray(padded)
    out: Any = cv2.filter2D(image, -1, weights.astype(image.dtype), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(out, image.dtype).reshape(image.shape)


@dataclass(frozen=True)
class Reduction:
    """D K from (H, W, C) to (h, w, C), its adjoint, and the enlargement D+ that errors go back by."""

    large: Side
    small: Side
    blur: Blur | None = None

    @cached_property
    def _down(self) -> tuple[Axis, Axis]:
        return make_axis(self.large[0], self.small[0]), make_axis(self.large[1], self.small[1])

    @cached_property
    def _spread(self) -> tuple[Axis, Axis]:
        rows, columns = self._down
        return rows.transpose(self.large[0]), columns.transpose(self.large[1])

    @cached_property
    def _up(self) -> tuple[Axis, Axis]:
        return make_axis(self.small[0], self.large[0]), make_axis(self.small[1], self.large[1])

    def __call__(self, large: Values) -> Values:
        """Reduce a large image."""
        return _both(self._down, self.blur(large) if self.blur else large)

    def adjoint(self, small: Values) -> Values:
        """Apply the transposed operator: <A x, y> = <x, A' y>."""
        spread = _both(self._spread, small)
        return self.blur.adjoint(spread) if self.blur else spread

    def enlarge(self, small: Values) -> Values:
        """Enlarge by bicubic to the large size."""
        return _both(self._up, small)

    @cached_property
    def bound(self) -> float:
        """Upper bound of the operator norm, and not much above it."""
        sums = [each.row_sum for each in (*self._down, *self._spread)]
        return float(np.sqrt(np.prod(sums))) * (self.blur.bound(*self.large) if self.blur else 1.0)


def _both(axes: tuple[Axis, Axis], values: Values) -> Values:
    tall = axes[0](values)
    return np.ascontiguousarray(axes[1](tall.swapaxes(0, 1)).swapaxes(0, 1))
