"""Statistical significance: bootstrap intervals of means, and paired tests between methods."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from srcli.bench.metrics import Column
from srcli.bench.results import ImageScore, Results

Array = NDArray[np.float64]

_RESAMPLES = 10_000
# Up to this many images every combination of signs is tried; beyond, as many random ones as resamples.
_EXACT = 13
LEVEL = 0.05


@dataclass(frozen=True)
class Interval:
    """The range of 95 % of the means over resampled images."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images: the mean of `first` minus `second` over `images`.

    `p` is that of the paired sign-flip test, adjusted for the number of pairs compared (Holm).
    """

    dataset: str
    scale: float
    first: str
    second: str
    images: int
    difference: float
    interval: Interval
    p: float

    @property
    def is_significant(self) -> bool:
        """True if the difference is unlikely to be chance."""
        return self.p < LEVEL


def bootstrap_interval(values: Sequence[float]) -> Interval | None:
    """Return the 95 % percentile bootstrap interval of the mean; None for a single value or infinite ones.

    Source: Efron 1979. The seed is fixed.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2 or not np.isfinite(array).all():
        return None
    drawn = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def sign_flip_test(differences: Sequence[float]) -> float:
    """Return the two-sided p value for the mean of paired differences being 0.

    That is how often random signs take the mean as far from 0: every combination for up to 13 images, then
    10,000 random ones. Source: Fisher 1935.
    """
    array = np.asarray(differences, np.float64)
    observed = abs(array.mean())
    signs, random = _make_signs(len(array))
    means = np.abs(signs @ array) / len(array)
    # Sums that differ only by rounding count as equal.
    as_far = int(np.count_nonzero(means >= observed * (1 - 1e-12) - 1e-15))
    return (as_far + random) / (len(signs) + random)


def _make_signs(count: int) -> tuple[Array, int]:
    """Return rows of signs, and 1 if they are random: the observed ones are then counted once more."""
    if count <= _EXACT:
        bits = np.arange(2**count)[:, None] >> np.arange(count)
        return np.asarray(1.0 - 2 * (bits & 1), np.float64), 0
    drawn = np.random.default_rng(0).integers(2, size=(_RESAMPLES, count))
    return np.asarray(1.0 - 2 * drawn, np.float64), 1


def adjust_holm(values: Sequence[float]) -> list[float]:
    """Return p values adjusted for multiple tests, in the same order. Source: Holm 1979.

    >>> adjust_holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, least = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = least
    return adjusted


def compute_intervals(results: Results, column: Column) -> dict[tuple[str, float, str], Interval]:
    """Return the interval of each row with more than one image, by data set, scale and method."""
    intervals = {
        key: bootstrap_interval([score.figures.get(column.key, np.nan) for score in scores])
        for key, scores in _group_scores(results).items()
    }
    return {key: each for key, each in intervals.items() if each}


def compare_methods(results: Results, column: Column) -> list[Comparison]:
    """Compare every two methods of each data set and scale on the images that both were scored on."""
    by_row = _group_scores(results)
    comparisons: list[Comparison] = []
    for group in results.group_rows():
        keys = [(row.dataset, row.scale, row.method) for row in group]
        tested = [
            each
            for first, second in combinations(keys, 2)
            if (each := _compare(by_row.get(first, []), by_row.get(second, []), column))
        ]
        adjusted = adjust_holm([each.p for each in tested])
        comparisons += [replace(each, p=p) for each, p in zip(tested, adjusted, strict=True)]
    return comparisons


def _compare(first: list[ImageScore], second: list[ImageScore], column: Column) -> Comparison | None:
    """Compare one pair, without adjusting p; None if they have fewer than two images in common."""
    ours = {score.image: score.figures.get(column.key, np.nan) for score in first}
    theirs = {score.image: score.figures.get(column.key, np.nan) for score in second}
    differences = [ours[image] - theirs[image] for image in ours if image in theirs]
    interval = bootstrap_interval(differences)
    if interval is None:
        return None
    a, b = first[0], second[0]
    mean, p = float(np.mean(differences)), sign_flip_test(differences)
    return Comparison(a.dataset, a.scale, a.method, b.method, len(differences), mean, interval, p)


def list_warnings(comparisons: Sequence[Comparison], column: Column) -> list[str]:
    """Return a line for each data set and scale on which differences are not significant."""
    groups: dict[tuple[str, float], list[Comparison]] = {}
    for each in comparisons:
        groups.setdefault((each.dataset, each.scale), []).append(each)
    lines = []
    for (dataset, scale), group in groups.items():
        place = f"{dataset} x{scale}"
        count = group[0].images
        # The smallest p possible is that of differences that all have the same sign.
        if len(group) * 2.0 ** (1 - count) >= LEVEL:
            lines.append(f"{place}: {count} images are too few for a significant difference at the 5 % level")
            continue
        close = [f"{each.first} and {each.second}" for each in group if not each.is_significant]
        if close:
            lines.append(f"{place}: no significant difference in {column.heading}: {'; '.join(close)}")
    return lines


def _group_scores(results: Results) -> dict[tuple[str, float, str], list[ImageScore]]:
    groups: dict[tuple[str, float, str], list[ImageScore]] = {}
    for score in results.images:
        groups.setdefault((score.dataset, score.scale, score.method), []).append(score)
    return groups
