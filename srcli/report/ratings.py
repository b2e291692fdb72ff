"""Ratings by people on rating pages: mean opinion scores, Bradley-Terry ranks, and agreement."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from srcli.errors import SrError, UsageError
from srcli.report.rating_page import FORMAT, decode_key
from srcli.storage.json_text import read_json

Values = NDArray[np.float64]

# The 97.5 % quantile of Student's t for 1 to 30 degrees of freedom; beyond, the normal one is close enough.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960
_HINT = "use files that a page of `sr compare --rate` saved"
_MAX_STEPS = 100
_LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class Rating:
    """One rater's score, 1 to 5, for one method on one image."""

    rater: str
    image: str
    method: str
    score: int


@dataclass(frozen=True)
class Choice:
    """One rater's choice between two methods on one image; `first` is 1 if the first won, 0.5 for a tie."""

    rater: str
    image: str
    methods: tuple[str, str]
    first: float


@dataclass(frozen=True)
class Answers:
    """All answers about one comparison."""

    comparison: str
    methods: tuple[str, ...]
    raters: int
    scores: tuple[Rating, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Opinion:
    """The mean opinion score of a method."""

    mean: Annotated[float, "mean score, 1 to 5"]
    margin: Annotated[float | None, "half its 95 % interval; null for a single value"]
    count: Annotated[int, "number of scores"]


@dataclass(frozen=True)
class Strength:
    """The Bradley-Terry strength of a method."""

    value: Annotated[float, "natural logarithm of the odds of winning against the average method"]
    margin: Annotated[float, "half its 95 % interval"]


@dataclass(frozen=True)
class Standing:
    """The results of one method."""

    rank: Annotated[int, "1 for the best"]
    method: Annotated[str, "model or other method"]
    opinion: Annotated[Opinion | None, "mean opinion score; null if it was only compared in pairs"]
    strength: Annotated[Strength, "Bradley-Terry strength"]


@dataclass(frozen=True)
class Summary:
    """The results of all answers."""

    comparison: Annotated[str, "fingerprint of the comparison that was rated"]
    raters: Annotated[int, "number of people"]
    answers: Annotated[int, "number of scores and choices"]
    standings: Annotated[tuple[Standing, ...], "methods, the best first"]
    alpha_scores: Annotated[float | None, "Krippendorff's alpha of scores (interval); null if undefined"]
    alpha_choices: Annotated[float | None, "Krippendorff's alpha of choices (nominal); null if undefined"]


def read_ratings(paths: list[Path]) -> Answers:
    """Read the answers in all files.

    Raises `SrError` for a file that is damaged, given twice, or about another comparison.
    """
    if not paths:
        raise UsageError("no rating files given", _HINT)
    raws = {path: _read_json(path) for path in paths}
    first = paths[0]
    sessions: dict[str, Path] = {}
    scores: list[Rating] = []
    choices: list[Choice] = []
    methods: set[str] = set()
    for path, raw in raws.items():
        if raw["comparison"] != raws[first]["comparison"]:
            raise SrError(
                f"{path} rates a different comparison from {first}", "summarise one comparison at a time"
            )
        if raw["session"] in sessions:
            raise SrError(
                f"{path} has the same ratings as {sessions[raw['session']]}", "leave one of them out"
            )
        sessions[raw["session"]] = path
        key = _parse_answers(path, raw, scores, choices)
        methods |= {method for _, method in key.values()}
    raters = len({one.rater for one in scores} | {one.rater for one in choices})
    return Answers(raws[first]["comparison"], tuple(sorted(methods)), raters, tuple(scores), tuple(choices))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = read_json(path)
        if raw["format"] != FORMAT or not isinstance(raw["session"], str) or not raw["ratings"]:
            raise ValueError("another format")
        if not all(isinstance(raw[key], str) for key in ("comparison", "key", "kind")):
            raise ValueError("another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file of ratings"
        raise SrError(f"cannot read {path}: {reason}", _HINT) from error
    return dict(raw)


def _parse_answers(
    path: Path, raw: dict[str, Any], scores: list[Rating], choices: list[Choice]
) -> dict[str, tuple[str, str]]:
    """Append one file's answers to the lists; return the key of its items."""
    # A named rater is one person, even over several sessions; without a name, each session is one.
    rater = str(raw.get("rater") or raw["session"])
    try:
        key = decode_key(raw["key"])
        for one in raw["ratings"]:
            if raw["kind"] == "scores":
                scores.append(_make_rating(rater, key[one["item"]], one["score"]))
            else:
                choices.append(_make_choice(rater, key[one["left"]], key[one["right"]], one["choice"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SrError(f"{path} is damaged: {str(error)[:_LONGEST_REASON]}", _HINT) from error
    return key


def _make_rating(rater: str, item: tuple[str, str], score: object) -> Rating:
    if type(score) is not int or not 1 <= score <= 5:
        raise ValueError(f"a score of {score}")
    return Rating(rater, *item, score)


def _make_choice(rater: str, left: tuple[str, str], right: tuple[str, str], choice: str) -> Choice:
    """Return the choice with the methods in alphabetical order, whichever side they were on."""
    won = {"left": 1.0, "tie": 0.5, "right": 0.0}[choice]
    if left[1] > right[1]:
        left, right, won = right, left, 1 - won
    return Choice(rater, left[0], (left[1], right[1]), won)


def summarise_ratings(answers: Answers) -> Summary:
    """Return the results of all methods, from the best to the worst by Bradley-Terry strength."""
    strengths = fit_bradley_terry(answers.methods, [*answers.choices, *derive_choices(answers.scores)])
    opinions = {method: compute_opinion(answers.scores, method) for method in answers.methods}
    order = sorted(answers.methods, key=lambda method: -strengths[method].value)
    standings = (Standing(k, m, opinions[m], strengths[m]) for k, m in enumerate(order, 1))
    score_units = _group_units((one.rater, (one.image, one.method), one.score) for one in answers.scores)
    choice_units = _group_units((one.rater, (one.image, one.methods), one.first) for one in answers.choices)
    return Summary(
        answers.comparison,
        answers.raters,
        len(answers.scores) + len(answers.choices),
        tuple(standings),
        compute_krippendorff(score_units, interval=True),
        compute_krippendorff(choice_units, interval=False),
    )


def compute_opinion(scores: Iterable[Rating], method: str) -> Opinion | None:
    """Return the mean of a method's scores and its 95 % interval (Student's t); None if it has none.

    Scores by one rater are not independent, so each rater's mean is one value. With a single rater the
    interval is over images, and says nothing about other people.
    """
    own = [one for one in scores if one.method == method]
    if not own:
        return None
    by_rater = _average_groups((one.rater, one.score) for one in own)
    values = by_rater if len(by_rater) > 1 else _average_groups((one.image, one.score) for one in own)
    mean = float(np.mean(values))
    if len(values) < 2:
        return Opinion(mean, None, len(own))
    t = _T[len(values) - 2] if len(values) - 2 < len(_T) else _NORMAL
    return Opinion(mean, float(t * np.std(values, ddof=1) / np.sqrt(len(values))), len(own))


def _average_groups(pairs: Iterable[tuple[str, int]]) -> list[float]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for group, value in pairs:
        groups[group].append(value)
    return [float(np.mean(values)) for values in groups.values()]


def derive_choices(scores: Iterable[Rating]) -> list[Choice]:
    """Derive choices from scores: of two methods on one image, a rater prefers the one scored higher."""
    by_image: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for one in scores:
        by_image[one.rater, one.image][one.method] = one.score
    return [
        Choice(rater, image, (a, b), 0.5 + 0.5 * float(np.sign(methods[a] - methods[b])))
        for (rater, image), methods in by_image.items()
        for a, b in combinations(sorted(methods), 2)
    ]


def fit_bradley_terry(methods: tuple[str, ...], choices: Iterable[Choice]) -> dict[str, Strength]:
    """Fit strengths by maximum a posteriori with Newton's method; a tie is half a win for each.

    P(a beats b) = 1 / (1 + exp(b - a)), Bradley and Terry 1952. The prior is one tie of each method
    against an average one, which keeps a method that always wins finite. Margins are 1.96 standard errors,
    by the Hessian.
    """
    number = {method: k for k, method in enumerate(methods)}
    wins = np.zeros((len(methods), len(methods)))
    for one in choices:
        a, b = (number[method] for method in one.methods)
        wins[a, b] += one.first
        wins[b, a] += 1 - one.first
    played = wins + wins.T
    strength = np.zeros(len(methods))
    hessian = np.eye(len(methods))
    for _ in range(_MAX_STEPS):
        chance = _apply_logistic(strength[:, None] - strength[None])
        own = _apply_logistic(strength)
        slope = wins.sum(1) - (played * chance).sum(1) + 0.5 - own
        weights = played * chance * (1 - chance)
        hessian = np.diag(weights.sum(1) + own * (1 - own)) - weights
        step = np.linalg.solve(hessian, slope)
        strength = strength + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    return {m: Strength(float(strength[k]), float(_NORMAL * errors[k])) for m, k in number.items()}


def _apply_logistic(values: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-values)))


Units = list[list[float]]


def _group_units(answers: Iterable[tuple[str, object, float]]) -> Units:
    """Return the values of each rated thing; a rater who rated it twice counts once, by the mean."""
    values: defaultdict[object, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rater, thing, value in answers:
        values[thing][rater].append(value)
    return [[float(np.mean(each)) for each in raters.values()] for raters in values.values()]


def compute_krippendorff(units: Units, interval: bool) -> float | None:
    """Return Krippendorff's alpha: 1 for perfect agreement, 0 for chance; None without two raters.

    With `interval`, values differ by the square of their distance, otherwise they are equal or not. A value
    alone in its unit does not count. Source: Computing Krippendorff's alpha-reliability, 2011.
    """
    paired = [unit for unit in units if len(unit) > 1]
    totals = Counter(value for unit in paired for value in unit)
    count = sum(totals.values())
    observed = sum(_sum_disagreement(Counter(unit), interval) / (len(unit) - 1) for unit in paired)
    expected = _sum_disagreement(totals, interval) / (count - 1) if count > 1 else 0
    return 1 - observed / expected if expected else None


def _sum_disagreement(counts: Counter[float], interval: bool) -> float:
    """Return the sum of differences over all ordered pairs of values."""
    pairs = combinations(counts.items(), 2)
    return sum(2 * m * n * ((a - b) ** 2 if interval else 1) for (a, m), (b, n) in pairs)


def format_table(summary: Summary) -> Table:
    """Return the summary as a table for the terminal."""
    table = Table(title=f"{summary.answers} answers by {summary.raters} raters", title_justify="left")
    for heading in ("Rank", "Method", "MOS", "95 %", "Bradley-Terry", "95 %"):
        table.add_column(heading, justify="left" if heading == "Method" else "right")
    for one in summary.standings:
        table.add_row(
            str(one.rank), Text(one.method), *_format_opinion(one.opinion), *_format_strength(one.strength)
        )
    return table


def _format_opinion(one: Opinion | None) -> tuple[str, str]:
    if one is None:
        return "-", "-"
    return f"{one.mean:.2f}", "-" if one.margin is None else f"±{one.margin:.2f}"


def _format_strength(one: Strength) -> tuple[str, str]:
    return f"{one.value:+.2f}", f"±{one.margin:.2f}"


def format_agreement(summary: Summary) -> str:
    """Return a line with the measures of agreement."""
    measures = [
        f"{what} {value:.3f}"
        for what, value in (
            ("of scores (interval)", summary.alpha_scores),
            ("of choices (nominal)", summary.alpha_choices),
        )
        if value is not None
    ]
    return (
        f"Krippendorff's alpha {', '.join(measures) if measures else 'needs two raters whose answers differ'}"
    )


def to_json(summary: Summary) -> str:
    """Return the summary as JSON in full precision."""
    return json.dumps(asdict(summary), indent=1, allow_nan=False)
