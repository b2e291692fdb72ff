"""Sparse coding: patches as sums of few atoms, of two dictionaries that belong together.

The given image, smaller versions of it and any examples are fathers f; the son D K f, enlarged and projected
back (see `ibp`), is what the father looks like when its details are gone: m. Features of patches of m, first
and second differences in both directions, and patches of f - m are coded with the same few numbers:

    features ~ codes A,    at most three of a row of codes not zero
    details  ~ codes B,    B = (codes' codes + e I)^-1 codes' details

A comes of online dictionary learning (Mairal et al., ICML 2009), codes of orthogonal matching pursuit, both
by scikit-learn. Features of the enlarged image then give codes, and these its details. Yang, Wright, Huang
and Ma, IEEE TIP 19 (2010); in this form Zeyde, Elad and Protter, Curves and Surfaces 2010,
https://doi.org/10.1007/978-3-642-27413-8_47.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import Plane
from srcli.methods.classical.ibp import projected
from srcli.methods.classical.operators import Reduction, Values
from srcli.methods.classical.planes import on_luma
from srcli.methods.classical.problem import Problem, fathers, son
from srcli.methods.classical.settings import Clock

PATCH, STRIDE = 6, 2
ATOMS, NONZERO = 256, 3
# Directions in which features vary most are kept, these many.
KEPT = 30
BATCH, ROUNDS = 256, 80
MOST_EXAMPLES = 12_000
SMALLEST = 2 * PATCH
_RIDGE = 1e-3
# Of the time that there is, for learning; and of the rest for coding.
_LEARNING, _CODING = 0.6, 0.9

Rows = NDArray[np.float32]
Places = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Dictionaries:
    """`basis` (features, KEPT); `low` (ATOMS, KEPT) is for features, `high` (ATOMS, PATCH^2) for details."""

    basis: Rows
    low: Rows
    high: Rows

    def details(self, features: Rows) -> Rows:
        """Patches (n, PATCH^2) of what is missing where these features are."""
        return np.asarray(codes(features @ self.basis, self.low) @ self.high, np.float32)


def solve(problem: Problem) -> Values:
    """The image (H, W, C), luma by sparse coding and colours by bicubic."""
    problem.check_sides(SMALLEST)
    return on_luma(problem, detailed)


def detailed(problem: Problem, examples: Sequence[Plane] = ()) -> Values:
    """(h, w, 1) to (H, W, 1); learned from the image itself, and from `examples` (h, w, 1)."""
    learning, rest = problem.clock.part(_LEARNING)
    coding, last = rest.part(_CODING)
    known = [_pair(father, problem) for father in (*fathers(problem.small, 2 * SMALLEST), *examples)]
    dictionaries = learned(known, problem.rng, learning)
    start = _start(problem.small, problem.reduction)[..., 0]
    large = start + _filled(start, dictionaries, coding)
    return projected(large[..., None], problem.small, problem.reduction, last)


def _start(small: Plane, reduction: Reduction) -> Plane:
    return np.asarray(projected(reduction.enlarged(small), small, reduction), np.float32)


def _pair(father: Plane, problem: Problem) -> tuple[Plane, Plane]:
    """What a father looks like without its details, and the details: (h, w) each."""
    small, reduction = son(father, problem, SMALLEST)
    without = _start(small, reduction)
    return without[..., 0], (father - without)[..., 0]


def learned(known: Sequence[tuple[Plane, Plane]], rng: np.random.Generator, clock: Clock) -> Dictionaries:
    """Dictionaries of pairs of planes, see `_pair`."""
    features, details = _examples(known, rng)
    basis = _basis(features)
    short = features @ basis
    low = _atoms(short, rng, clock)
    found = codes(short, low).astype(np.float64)
    gram = found.T @ found + _RIDGE * np.eye(len(low))
    high = np.linalg.solve(gram, found.T @ details)
    return Dictionaries(basis, low, np.asarray(high, np.float32))


def _examples(known: Sequence[tuple[Plane, Plane]], rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Features and details of patches at random places, in all eight orientations."""
    pixels = sum(without.size for without, _ in known)
    features, details = [], []
    for without, missing in known:
        for k in range(8):
            one, other = (_turned(plane, k) for plane in (without, missing))
            places = _drawn(one.shape, math.ceil(MOST_EXAMPLES * one.size / pixels / 8), rng)
            features.append(_features(_differences(one), places))
            details.append(_cut(other, places))
    return np.concatenate(features), np.concatenate(details)


def _turned(plane: Plane, k: int) -> Plane:
    turned = np.rot90(plane, k % 4)
    return turned.T if k >= 4 else turned


def _drawn(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> Places:
    y, x = (rng.integers(side - PATCH + 1, size=count) for side in shape)
    return y, x


def _differences(plane: Plane) -> tuple[Values, ...]:
    """Four planes: differences to both sides, and half of these differences' own, along columns and rows."""
    wide = np.pad(plane, 2, mode="symmetric")
    tall, long = wide[:, 2:-2], wide[2:-2]
    return (
        tall[3:-1] - tall[1:-3],
        long[:, 3:-1] - long[:, 1:-3],
        (tall[4:] + tall[:-4]) / 2 - plane,
        (long[:, 4:] + long[:, :-4]) / 2 - plane,
    )


def _features(differences: Sequence[Values], places: Places) -> Rows:
    """(n, 4 PATCH^2)."""
    return np.concatenate([_cut(plane, places) for plane in differences], axis=1)


def _cut(plane: Values, places: Places) -> Rows:
    """The patches (n, PATCH^2) whose top left corners are there."""
    view = np.lib.stride_tricks.sliding_window_view(plane, (PATCH, PATCH))
    return np.asarray(view[places].reshape(-1, PATCH**2), np.float32)


def _basis(features: Rows) -> Rows:
    """The directions (features, KEPT) of most variance."""
    values = features.astype(np.float64)
    _, vectors = np.linalg.eigh(values.T @ values)
    return np.ascontiguousarray(vectors[:, ::-1][:, :KEPT], np.float32)


def _atoms(rows: Rows, rng: np.random.Generator, clock: Clock) -> Rows:
    """A dictionary (ATOMS, KEPT) in which rows, brought to one length, have sparse codes."""
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    length = np.linalg.norm(rows, axis=1, keepdims=True)
    lively = rows[length[:, 0] > np.median(length)]
    lively = lively / np.linalg.norm(lively, axis=1, keepdims=True)
    first = lively[rng.choice(len(lively), ATOMS, replace=len(lively) < ATOMS)]
    learner = MiniBatchDictionaryLearning(
        len(first), alpha=0.1, batch_size=BATCH, dict_init=first.astype(np.float64),
        fit_algorithm="cd", random_state=int(rng.integers(2**31)),
    )  # fmt: skip
    with (
        warnings.catch_warnings()
    ):  # of codes that are not exact yet, which a dictionary in the making need not be
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in clock.rounds(ROUNDS):
            learner.partial_fit(lively[rng.integers(len(lively), size=BATCH)].astype(np.float64))
    found: Rows = learner.components_.astype(np.float32)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6), np.float32)


def codes(rows: Rows, atoms: Rows) -> Rows:
    """(n, KEPT) as sums of at most NONZERO atoms: (n, ATOMS)."""
    from sklearn.decomposition import sparse_encode

    with warnings.catch_warnings():  # of rows that are zero, or told exactly by fewer atoms
        warnings.simplefilter("ignore", RuntimeWarning)
        found = sparse_encode(rows, atoms, algorithm="omp", n_nonzero_coefs=NONZERO)
    return np.asarray(found, np.float32)


def _filled(plane: Plane, dictionaries: Dictionaries, clock: Clock) -> Plane:
    """The details (H, W) of a plane, overlapping patches averaged; none where time is over."""
    wide = np.pad(plane, PATCH, mode="symmetric")
    differences = _differences(wide)
    y, x = (range(0, side - PATCH + 1, STRIDE) for side in wide.shape)
    out = np.zeros((len(y), len(x), PATCH, PATCH), np.float32)
    for row, top, _ in zip(out, y, clock.rounds(len(y)), strict=False):
        places = np.full(len(x), top), np.array(x)
        row[:] = dictionaries.details(_features(differences, places)).reshape(row.shape)
    return _laid(out, wide.shape)[PATCH:-PATCH, PATCH:-PATCH]


def _laid(laid: Plane, shape: tuple[int, ...]) -> Plane:
    """Patches (down, across, PATCH, PATCH) at every STRIDE-th place, averaged where they overlap."""
    down, across = laid.shape[:2]
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for y in range(PATCH):
        for x in range(PATCH):
            place = (slice(y, y + down * STRIDE, STRIDE), slice(x, x + across * STRIDE, STRIDE))
            total[place] += laid[..., y, x]
            count[place] += 1
    return np.asarray(total / np.maximum(count, 1), np.float32)
