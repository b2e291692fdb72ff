"""Walks: what a person types, one after the other, in terminals of 80 and 44 columns.

A file in tests/walks has a line `$ ...` for each command, followed by lines `| ...` with what its output has.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from helpers.paths import ROOT, SAMPLES
from helpers.tmux import Terminal, needs_tmux
from srcli.imaging.picture_kind import Kind
from tools import picture_cases

WALKS = sorted((ROOT / "tests" / "walks").glob("*.walk"))


def read_steps(walk: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield commands, and texts that their output has."""
    steps: list[tuple[str, list[str]]] = []
    for line in walk.read_text("utf-8").splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.startswith("| "):
            steps[-1][1].append(line[2:])
    yield from steps


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the files that the walks name."""
    with PilImage.open(SAMPLES / "coffee.png") as file:
        photo = file.convert("RGB").crop((100, 100, 260, 220))
    (tmp_path / "photos").mkdir()
    (tmp_path / "sets").mkdir()
    photo.save(tmp_path / "photos" / "a.jpg", quality=95)
    noisy = picture_cases.add_noise(photo, np.random.default_rng(0), 15, grey=True)
    noisy.save(tmp_path / "photos" / "b.jpg", quality=95)
    (tmp_path / "photos" / "bad.jpg").write_text("no image")
    photo.save(tmp_path / "truth.png")
    photo.save(tmp_path / "sets" / "one.png")
    text = next(samples for kind, samples in picture_cases.draw_cases(range(2)) if kind is Kind.TEXT)
    PilImage.fromarray(text).save(tmp_path / "page.png")
    sprite = np.random.default_rng(1).integers(0, 2, (12, 16, 1)).astype(np.uint8) * np.uint8([250, 60, 90])
    PilImage.fromarray(sprite.repeat(4, 0).repeat(4, 1)).save(tmp_path / "sprite.png")
    return tmp_path


def unwrap(screen: str) -> str:
    """Return a screen without the breaks that a narrow terminal makes, and without blanks."""
    return re.sub(r"\s+", "", screen)


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 44])
@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.stem)
def test_a_walk_reads_well(walk: Path, columns: int, desk: Path) -> None:
    steps = list(read_steps(walk))
    assert len(steps) >= 5
    with Terminal(desk, columns, lines=300) as terminal:
        for command, expected in steps:
            shown = terminal.run(command)
            for text in expected:
                assert unwrap(text) in unwrap(shown), f"{command}\n{shown}"
            assert "Traceback" not in shown
            assert "━" not in shown  # bars are gone
