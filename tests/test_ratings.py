"""Opinion scores, Bradley-Terry ranks and agreement, against published and independent results."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from helpers.command import Run
from srcli.report import ratings
from srcli.report.ratings import (
    Choice,
    Rating,
    compute_krippendorff,
    compute_opinion,
    derive_choices,
    fit_bradley_terry,
)

# The example of Krippendorff 2011, section C: four observers, twelve units, values missing.
_EXAMPLE = [
    [1, 1, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [5, 5, 5], [1, 1], [3],
]  # fmt: skip


def test_alpha_is_that_of_the_published_example() -> None:
    units = [[float(v) for v in unit] for unit in _EXAMPLE]
    assert compute_krippendorff(units, interval=False) == pytest.approx(0.743, abs=5e-4)
    assert compute_krippendorff(units, interval=True) == pytest.approx(0.849, abs=5e-4)


def test_alpha_of_one_rater_is_unknown() -> None:
    assert compute_krippendorff([[1.0], [2.0]], interval=True) is None
    assert compute_krippendorff([], interval=False) is None
    assert compute_krippendorff([[1.0, 1.0], [4.0, 4.0]], interval=True) == 1


def test_intervals_are_students() -> None:
    for raters in (2, 5, 31, 40):
        values = np.random.default_rng(raters).integers(1, 6, raters)
        found = compute_opinion([Rating(f"r{k}", "i", "m", int(v)) for k, v in enumerate(values)], "m")
        assert found is not None
        assert found.margin is not None
        wanted = stats.t.ppf(0.975, raters - 1) * stats.sem(values)
        assert found.margin == pytest.approx(wanted, rel=0.045 if raters > 31 else 2e-3)


def test_a_rater_counts_once_however_much_was_rated() -> None:
    eager = [Rating("a", f"i{k}", "m", 5) for k in range(9)]
    found = compute_opinion([*eager, Rating("b", "i0", "m", 1)], "m")
    assert found is not None
    assert found.mean == 3
    alone = compute_opinion(eager[:1], "m")
    assert alone is not None
    assert alone.margin is None
    assert compute_opinion(eager, "other") is None


def test_strengths_are_the_maximum_of_the_likelihood(rng: np.random.Generator) -> None:
    """Compared with a general optimiser on the same posterior; ranks follow the truth."""
    names = ("a", "b", "c", "d")
    true = np.array([1.5, 0.5, -0.5, -1.5])
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4) for _ in range(30)]
    choices = []
    for i, j in pairs:
        won = rng.random() < 1 / (1 + np.exp(true[j] - true[i]))
        choices.append(Choice("r", "i", (names[i], names[j]), float(won)))

    def loss(s: Any) -> float:
        own = float(np.sum(np.logaddexp(0, s) - 0.5 * s))
        return own + sum(
            np.logaddexp(0, s[names.index(c.methods[1])] - s[names.index(c.methods[0])])
            + (1 - c.first) * (s[names.index(c.methods[0])] - s[names.index(c.methods[1])])
            for c in choices
        )

    wanted = optimize.minimize(loss, np.zeros(4)).x
    found = fit_bradley_terry(names, choices)
    np.testing.assert_allclose([found[name].value for name in names], wanted, atol=1e-3)
    assert sorted(names, key=lambda name: -found[name].value) == list(names)


def test_one_who_always_wins_stays_finite() -> None:
    found = fit_bradley_terry(("a", "b"), [Choice("r", "i", ("a", "b"), 1.0)] * 50)
    assert 0 < found["a"].value < 10
    assert found["a"].value == pytest.approx(-found["b"].value)


def test_scores_tell_which_of_two_is_preferred() -> None:
    given = [
        Rating("r", "i", "a", 4),
        Rating("r", "i", "b", 2),
        Rating("r", "i", "c", 4),
        Rating("s", "i", "a", 1),
    ]
    assert {(one.methods, one.first) for one in derive_choices(given)} == {
        (("a", "b"), 1.0), (("a", "c"), 0.5), (("b", "c"), 0.0),
    }  # fmt: skip


def _file(path: Path, answers: list[dict[str, Any]], **changes: Any) -> Path:
    key = {"01": ["i.png", "good"], "02": ["i.png", "poor"]}
    content = {
        "format": "sr-ratings", "version": 1, "comparison": "c0ffee", "kind": "scores", "rater": "",
        "session": path.stem, "key": base64.b64encode(json.dumps(key).encode()).decode(), "ratings": answers,
    }  # fmt: skip
    path.write_text(json.dumps({**content, **changes}))
    return path


_SCORES = [{"item": "01", "score": 5, "seconds": 1}, {"item": "02", "score": 2, "seconds": 1}]
_PAIR = [{"left": "02", "right": "01", "choice": "right", "seconds": 1}]


def test_scores_and_choices_make_one_table(tmp_path: Path, sr: Run) -> None:
    files = [
        _file(tmp_path / "a.json", _SCORES),
        _file(tmp_path / "b.json", [{"item": "01", "score": 4}, {"item": "02", "score": 3}]),
        _file(tmp_path / "c.json", _PAIR, kind="pairs"),
    ]
    done = sr("bench", "--ratings", *files, "--json", tmp_path / "out.json")
    assert done.code == 0, done.err
    assert done.out.index("good") < done.out.index("poor")
    assert "4.50" in done.out
    assert "Krippendorff's alpha of scores (interval)" in done.out
    raw = json.loads((tmp_path / "out.json").read_text())
    assert [(one["rank"], one["method"]) for one in raw["standings"]] == [(1, "good"), (2, "poor")]
    assert raw["raters"] == 3


def test_a_rating_file_that_does_not_belong_is_refused(tmp_path: Path, sr: Run) -> None:
    first = _file(tmp_path / "a.json", _SCORES)
    (tmp_path / "text.json").write_text("{}")
    for bad, message in (
        (_file(tmp_path / "other.json", _SCORES, comparison="facade"), "rates a different comparison from"),
        (_file(tmp_path / "twice.json", _SCORES, session="a"), "has the same ratings as"),
        (_file(tmp_path / "six.json", [{"item": "01", "score": 6}]), "is damaged: a score of 6"),
        (_file(tmp_path / "key.json", _SCORES, key="%%"), "is damaged"),
        (tmp_path / "text.json", "not a file of ratings"),
        (tmp_path / "none.json", "No such file"),
    ):
        done = sr("bench", "--ratings", first, bad)
        assert done.code in (1, 2)
        assert message in done.err
        assert done.err.count("\n") == 2
        assert done.out == ""


def test_files_are_for_ratings_alone(tmp_path: Path, sr: Run) -> None:
    assert "no rating files" in sr("bench", "--ratings").err
    done = sr("bench", _file(tmp_path / "a.json", _SCORES))
    assert done.code == 2
    assert f"sr bench --ratings {tmp_path / 'a.json'}" in done.err
    done = sr("bench", tmp_path)
    assert done.code == 2
    assert f"sr bench -d {tmp_path}" in done.err
    assert ratings.FORMAT == "sr-ratings"
