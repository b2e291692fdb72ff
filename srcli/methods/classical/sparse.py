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
from srcli.methods.classical.ibp import back_project
from srcli.methods.classical.operators import Reduction, Values
from srcli.methods.classical.planes import solve_luma
from srcli.methods.classical.problem import Problem, make_fathers, make_son
from srcli.methods.classical.settings import Clock

PATCH, STRIDE = 6, 2
ATOMS, NONZERO = 256, 3
# Principal components of the features that are kept.
KEPT = 30
BATCH, ROUNDS = 256, 80
MOST_EXAMPLES = 12_000
SMALLEST = 2 * PATCH
_RIDGE = 1e-3
# Share of the time for learning, and share of the rest for coding.
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
        """Return patches (n, PATCH^2) of the details missing at these features."""
        return np.asarray(encode_sparsely(features @ self.basis, self.low) @ self.high, np.float32)


def solve(problem: Problem) -> Values:
    """Return the image (H, W, C), luma by sparse coding and colours by bicubic."""
    problem.check_sides(SMALLEST)
    return solve_luma(problem, add_details)


def add_details(problem: Problem, examples: Sequence[Plane] = ()) -> Values:
    """Enlarge (h, w, 1) to (H, W, 1), learning from the image itself and from `examples` (h, w, 1)."""
    learning, rest = problem.clock.part(_LEARNING)
    coding, last = rest.part(_CODING)
    known = [
        _make_pair(father, problem) for father in (*make_fathers(problem.small, 2 * SMALLEST), *examples)
    ]
    dictionaries = learn_dictionaries(known, problem.rng, learning)
    start = _upscale_start(problem.small, problem.reduction)[..., 0]
    large = start + _compute_details(start, dictionaries, coding)
    return back_project(large[..., None], problem.small, problem.reduction, last)


def _upscale_start(small: Plane, reduction: Reduction) -> Plane:
    return np.asarray(back_project(reduction.enlarge(small), small, reduction), np.float32)


def _make_pair(father: Plane, problem: Problem) -> tuple[Plane, Plane]:
    """Return a father without its details, and the details: (h, w) each."""
    small, reduction = make_son(father, problem, SMALLEST)
    without = _upscale_start(small, reduction)
    return without[..., 0], (father - without)[..., 0]


def learn_dictionaries(
    known: Sequence[tuple[Plane, Plane]], rng: np.random.Generator, clock: Clock
) -> Dictionaries:
    """Learn dictionaries from pairs of planes as `_make_pair` returns them."""
    features, details = _collect_examples(known, rng)
    basis = _find_basis(features)
    short = features @ basis
    low = _learn_atoms(short, rng, clock)
    found = encode_sparsely(short, low).astype(np.float64)
    gram = found.T @ found + _RIDGE * np.eye(len(low))
    high = np.linalg.solve(gram, found.T @ details)
    return Dictionaries(basis, low, np.asarray(high, np.float32))


def _collect_examples(known: Sequence[tuple[Plane, Plane]], rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Return features and details of patches at random places, in all eight orientations."""
    pixels = sum(without.size for without, _ in known)
    features, details = [], []
    for without, missing in known:
        for k in range(8):
            one, other = (_orient(plane, k) for plane in (without, missing))
            places = _draw_places(one.shape, math.ceil(MOST_EXAMPLES * one.size / pixels / 8), rng)
            features.append(_compute_features(_compute_differences(one), places))
            details.append(_extract_patches(other, places))
    return np.concatenate(features), np.concatenate(details)


def _orient(plane: Plane, k: int) -> Plane:
    turned = np.rot90(plane, k % 4)
    return turned.T if k >= 4 else turned


def _draw_places(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> Places:
    y, x = (rng.integers(side - PATCH + 1, size=count) for side in shape)
    return y, x


def _compute_differences(plane: Plane) -> tuple[Values, ...]:
    """Return four planes: first and halved second differences along columns and rows."""
    wide = np.pad(plane, 2, mode="symmetric")
    tall, long = wide[:, 2:-2], wide[2:-2]
    return (
        tall[3:-1] - tall[1:-3],
        long[:, 3:-1] - long[:, 1:-3],
        (tall[4:] + tall[:-4]) / 2 - plane,
        (long[:, 4:] + long[:, :-4]) / 2 - plane,
    )


def _compute_features(differences: Sequence[Values], places: Places) -> Rows:
    """Return the features (n, 4 PATCH^2) of patches."""
    return np.concatenate([_extract_patches(plane, places) for plane in differences], axis=1)


def _extract_patches(plane: Values, places: Places) -> Rows:
    """Return the patches (n, PATCH^2) with these top left corners."""
    view = np.lib.stride_tricks.sliding_window_view(plane, (PATCH, PATCH))
    return np.asarray(view[places].reshape(-1, PATCH**2), np.float32)


def _find_basis(features: Rows) -> Rows:
    """Return the directions (features, KEPT) of most variance."""
    values = features.astype(np.float64)
    _, vectors = np.linalg.eigh(values.T @ values)
    return np.ascontiguousarray(vectors[:, ::-1][:, :KEPT], np.float32)


def _learn_atoms(rows: Rows, rng: np.random.Generator, clock: Clock) -> Rows:
    """Learn a dictionary (ATOMS, KEPT) in which normalised rows have sparse codes."""
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
    with warnings.catch_warnings():  # codes need not have converged while the dictionary is being learned
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in clock.rounds(ROUNDS):
            learner.partial_fit(lively[rng.integers(len(lively), size=BATCH)].astype(np.float64))
    found: Rows = learner.components_.astype(np.float32)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6), np.float32)


def encode_sparsely(rows: Rows, atoms: Rows) -> Rows:
    """Write rows (n, KEPT) as sums of at most NONZERO atoms: codes (n, ATOMS)."""
    from sklearn.decomposition import sparse_encode

    with warnings.catch_warnings():  # rows that are zero or need fewer atoms
        warnings.simplefilter("ignore", RuntimeWarning)
        found = sparse_encode(rows, atoms, algorithm="omp", n_nonzero_coefs=NONZERO)
    return np.asarray(found, np.float32)


def _compute_details(plane: Plane, dictionaries: Dictionaries, clock: Clock) -> Plane:
    """Return the details (H, W) of a plane, averaging overlapping patches; zero where time ran out."""
    wide = np.pad(plane, PATCH, mode="symmetric")
    differences = _compute_differences(wide)
    y, x = (range(0, side - PATCH + 1, STRIDE) for side in wide.shape)
    out = np.zeros((len(y), len(x), PATCH, PATCH), np.float32)
    for row, top, _ in zip(out, y, clock.rounds(len(y)), strict=False):
        places = np.full(len(x), top), np.array(x)
        row[:] = dictionaries.details(_compute_features(differences, places)).reshape(row.shape)
    return _average_patches(out, wide.shape)[PATCH:-PATCH, PATCH:-PATCH]


def _average_patches(patches: Plane, shape: tuple[int, ...]) -> Plane:
    """Average overlapping patches (down, across, PATCH, PATCH), placed at every STRIDE-th pixel."""
    down, across = patches.shape[:2]
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for y in range(PATCH):
        for x in range(PATCH):
            place = (slice(y, y + down * STRIDE, STRIDE), slice(x, x + across * STRIDE, STRIDE))
            total[place] += patches[..., y, x]
            count[place] += 1
    return np.asarray(total / np.maximum(count, 1), np.float32)
