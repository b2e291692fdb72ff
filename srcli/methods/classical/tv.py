"""Total variation: the smoothest image, in the sense of few and sharp edges, that fits the small one.

    min over x of  E(x) = 1/2 |A x - y|^2 + w TV(x)
    TV(x) = sum over pixels of the length of grad x, all channels taken together

with A = D K the reduction and y the small image. The saddle-point form

    min over x, max over p, |q| <= w of  <A x - y, p> - 1/2 |p|^2 + <grad x, q>

is solved by primal-dual steps, which need A and its transpose only:

    p <- (p + s (A z - y)) / (1 + s),   q <- onto |q| <= w of (q + r grad z)
    x' = x - t (A' p - div q),          z = 2 x' - x

Chambolle and Pock, J. Math. Imaging Vis. 40 (2011), https://doi.org/10.1007/s10851-010-0251-1; the step sizes
s, r, t for the two parts apart: Pock and Chambolle, ICCV 2011. Colour: Bresson and Chan 2008.
"""

import numpy as np

from srcli.methods.classical.operators import Values
from srcli.methods.classical.problem import Problem

# Chosen on the photographs that ship with sr. Three times as much is better for drawings, worse for skin.
WEIGHT = 1e-4
ROUNDS = 120
# t: the larger, the sooner edges are sharp, and the later flat places are quiet.
_STEP = 8.0
# Of the squared norm of the gradient in two dimensions, by finite differences.
_GRADIENT = 8.0


def solve(problem: Problem) -> Values:
    """Return the image (H, W, C) that minimises E, or the closest one that time allows."""
    return minimise(problem, WEIGHT, ROUNDS)


def minimise(problem: Problem, weight: float, rounds: int) -> Values:
    """Take `rounds` primal-dual steps from the bicubic enlargement, clipping to [0, 1]."""
    reduction, small = problem.reduction, problem.small
    data, smooth, step = _steps(reduction.bound)
    x: Values = np.clip(reduction.enlarge(small), 0, 1)
    z, p, q = x, np.zeros_like(small, x.dtype), np.zeros((2, *x.shape), x.dtype)
    for _ in problem.clock.rounds(rounds):
        p = (p + data * (reduction(z) - small)) / (1 + data)
        q = limit_length(q + smooth * gradient(z), weight)
        moved = np.clip(x - step * (reduction.adjoint(p) - divergence(q)), 0, 1)
        z, x = 2 * moved - x, moved
    return x


def _steps(bound: float) -> tuple[np.float32, np.float32, np.float32]:
    """Return the step sizes of p, q and x; s t |A|^2 and r t |grad|^2 add up to 1."""
    return np.float32(0.5 / _STEP / bound**2), np.float32(0.5 / _STEP / _GRADIENT), np.float32(_STEP)


def energy(x: Values, problem: Problem, weight: float = WEIGHT) -> float:
    """Compute E(x), which is minimised."""
    error = problem.reduction(x) - problem.small
    length = np.sqrt((gradient(x).astype(np.float64) ** 2).sum(axis=(0, 3)))
    return float(0.5 * (error.astype(np.float64) ** 2).sum() + weight * length.sum())


def gradient(x: Values) -> Values:
    """Return (2, H, W, C): differences to the pixel below and to the right, 0 at the border."""
    out = np.zeros((2, *x.shape), x.dtype)
    np.subtract(x[1:], x[:-1], out=out[0, :-1])
    np.subtract(x[:, 1:], x[:, :-1], out=out[1, :, :-1])
    return out


def divergence(q: Values) -> Values:
    """Apply the negative transpose of `gradient`: (2, H, W, C) to (H, W, C)."""
    out: Values = np.zeros_like(q[0])
    out[:-1] += q[0, :-1]
    out[1:] -= q[0, :-1]
    out[:, :-1] += q[1, :, :-1]
    out[:, 1:] -= q[1, :, :-1]
    return out


def limit_length(q: Values, radius: float) -> Values:
    """Limit each pixel's vector, over both directions and all channels of (2, H, W, C), to a length."""
    length = np.sqrt((q**2).sum(axis=(0, 3), keepdims=True))
    return np.asarray(q / np.maximum(1, length / np.float32(radius)))
