"""How sure a difference is: bootstrap intervals of means, and paired tests between methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from srcli.bench.results import ImageScore, Results
from srcli.bench.scoring import Column

Array = NDArray[np.float64]

_RESAMPLES = 10_000
# Up to this many images all signs of the differences are gone through; beyond, as many as resamples.
_EXACT = 13
LEVEL = 0.05


@dataclass(frozen=True)
class Interval:
    """What 95 % of the means of images drawn again lie in."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same images: `first` less `second` in `column`, as the mean over `images`.

    `p` is of the paired sign-flip test, made larger for how many pairs were compared at once (Holm).
    """

    dataset: str
    scale: int
    first: str
    second: str
    images: int
    difference: float
    interval: Interval
    p: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is one that chance does not explain."""
        return self.p < LEVEL


def interval(values: Sequence[float]) -> Interval | None:
    """The 95 % percentile bootstrap interval of the mean; None for a single value or infinite ones.

    Source: Efron 1979. The draws are the same each time.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2 or not np.isfinite(array).all():
        return None
    drawn = np.random.default_rng(0).integers(len(array), size=(_RESAMPLES, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return Interval(float(low), float(high))


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of paired differences having mean 0: how often random signs take the mean as far from it.

    Every way to set the signs is tried for up to 13 images, then 10,000 drawn ones. Source: Fisher 1935.
    """
    array = np.asarray(differences, np.float64)
    seen = abs(array.mean())
    signs, drawn = _signs(len(array))
    means = np.abs(signs @ array) / len(array)
    # What rounding makes of an equal sum counts as equal.
    as_far = int(np.count_nonzero(means >= seen * (1 - 1e-12) - 1e-15))
    return (as_far + drawn) / (len(signs) + drawn)


def _signs(count: int) -> tuple[Array, int]:
    """Rows of signs, and 1 where they are drawn: the one seen then counts as one of them."""
    if count <= _EXACT:
        bits = np.arange(2**count)[:, None] >> np.arange(count)
        return np.asarray(1.0 - 2 * (bits & 1), np.float64), 0
    drawn = np.random.default_rng(0).integers(2, size=(_RESAMPLES, count))
    return np.asarray(1.0 - 2 * drawn, np.float64), 1


def holm(values: Sequence[float]) -> list[float]:
    """P values adjusted for how many there are, in their order. Source: Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, least = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = least
    return adjusted


def intervals(results: Results, column: Column) -> dict[tuple[str, int, str], Interval]:
    """Of each row that has more than one image, by data set, scale and method."""
    found = {key: interval(_values(scores, column)) for key, scores in _by_row(results).items()}
    return {key: each for key, each in found.items() if each}


def comparisons(results: Results, column: Column) -> list[Comparison]:
    """Every two methods of each data set and scale, on the images that both have."""
    by_row = _by_row(results)
    found: list[Comparison] = []
    for group in results.groups():
        keys = [(row.dataset, row.scale, row.method) for row in group]
        tested = [
            each
            for first, second in combinations(keys, 2)
            if (each := _compared(by_row.get(first, []), by_row.get(second, []), column))
        ]
        adjusted = holm([each.p for each in tested])
        found += [Comparison(**{**vars(each), "p": p}) for each, p in zip(tested, adjusted, strict=True)]
    return found


def _compared(first: list[ImageScore], second: list[ImageScore], column: Column) -> Comparison | None:
    """One pair, its p not adjusted; None without two images in common."""
    ours = {score.image: score.figures.get(column.key, np.nan) for score in first}
    theirs = {score.image: score.figures.get(column.key, np.nan) for score in second}
    differences = [ours[image] - theirs[image] for image in ours if image in theirs]
    spread = interval(differences)
    if spread is None:
        return None
    a, b = first[0], second[0]
    mean = float(np.mean(differences))
    return Comparison(
        a.dataset, a.scale, a.method, b.method, len(differences), mean, spread, sign_flip(differences)
    )


def warnings(found: Sequence[Comparison], column: Column) -> list[str]:
    """A line for each data set and scale where methods can't be told apart."""
    groups: dict[tuple[str, int], list[Comparison]] = {}
    for each in found:
        groups.setdefault((each.dataset, each.scale), []).append(each)
    lines = []
    for (dataset, scale), group in groups.items():
        place = f"{dataset} x{scale}"
        count = group[0].images
        # What a difference of one sign throughout would have, the best there is.
        if len(group) * 2.0 ** (1 - count) >= LEVEL:
            lines.append(f"{place}: {count} images are too few to tell any two methods apart at 5 %")
            continue
        alike = [f"{each.first} and {each.second}" for each in group if not each.told_apart]
        if alike:
            lines.append(f"{place}: by {column.heading}, these can't be told apart: {'; '.join(alike)}")
    return lines


def _by_row(results: Results) -> dict[tuple[str, int, str], list[ImageScore]]:
    found: dict[tuple[str, int, str], list[ImageScore]] = {}
    for score in results.images:
        found.setdefault((score.dataset, score.scale, score.method), []).append(score)
    return found


def _values(scores: list[ImageScore], column: Column) -> list[float]:
    return [score.figures.get(column.key, np.nan) for score in scores]
