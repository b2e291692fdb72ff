"""A small sample of what `make fuzz` does: damaged files end in an image or in an error of one line."""

import warnings
from pathlib import Path

import pytest

from srcli import enlarge
from tools import fuzz

SAMPLE = 12


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", fuzz.kinds())
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    sound = fuzz.kinds()[kind][1](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdicts = {k: fuzz.case(kind, 1, k, tmp_path, sound) for k in range(SAMPLE)}
    assert not {k: v for k, v in verdicts.items() if v not in ("read", "refused")}


def test_faults_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that loses its head, or that never ends, is a fault and not a refusal."""
    def lose(path: Path) -> None:
        raise ZeroDivisionError("lost")

    def spin(path: Path) -> None:
        while True:
            pass

    sound = fuzz.kinds()["PNG 8"][1](tmp_path)
    monkeypatch.setattr(fuzz, "LIMIT", 0.3)
    monkeypatch.setattr(enlarge, "timing", spin)
    assert fuzz.case("PNG 8", 0, 0, tmp_path, sound) == "hang"
    monkeypatch.setattr(enlarge, "timing", lose)
    assert fuzz.case("PNG 8", 0, 0, tmp_path, sound) == "traceback: ZeroDivisionError: lost"
