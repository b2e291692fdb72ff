"""Option groups: dataclasses of options, seen by Typer as one flat signature."""

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from helpers.command import Run
from srcli.cli import options

Number = Annotated[int, typer.Option("--number", "-n")]


@dataclass(frozen=True)
class Group:
    number: Number = 3
    words: Annotated[list[str], typer.Option("--word")] = field(default_factory=lambda: ["a"])


def test_a_command_is_called_with_its_groups() -> None:
    seen: list[tuple[str, Group, bool]] = []

    def command(
        name: Annotated[str, typer.Argument()] = "nobody",
        *,
        group: Group,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> int:
        """Do nothing."""
        seen.append((name, group, loud))
        return 7

    expanded = options.with_option_groups(command)
    assert list(inspect.signature(expanded).parameters) == ["name", "number", "words", "loud"]
    assert expanded.__doc__ == "Do nothing."
    app = typer.Typer()
    app.command()(expanded)
    for words in ([], ["me", "-n4", "--word", "b", "--word", "c", "--loud"]):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert seen == [("nobody", Group(), False), ("me", Group(4, ["b", "c"]), True)]
    assert expanded(name="x", number=1, words=[], loud=False) == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("a\0b.png",),
        ("a.png", "--name", "{stem:d}"),
        ("a.png", "--size", "9" * 5_000),
        ("a.png", "--width", "9" * 5_000),
        ("a.png", "--seed", str(2**63)),
        ("a.png", "--strength", "nan"),
        ("a.png", "--megapixels", "inf"),
        ("a.png", "--scale", "nan"),
        ("a.png", "--device", "gpu"),
        ("a.png", "--format", "xyz"),
        ("a.png", "--vram", "9" * 5_000),
        ("a.png", "--vram", "1"),
        ("a.png", "--vram", ""),
        ("a.png", "--max-pixels", "9" * 400),
        ("",),
        ("a.png", "--output="),
        ("a.png", "--job", ""),
        ("a.png", "-o", "a\0b"),
        ("a.png", "--uncertainty", "a\0b"),
    ],
    ids=lambda each: " ".join(each)[:30],
)
def test_wrong_values_cost_one_line(arguments: tuple[str, ...], in_tmp: Path, photo: Path, sr: Run) -> None:
    (in_tmp / "a.png").write_bytes(photo.read_bytes())
    done = sr("upscale", "-m", "zssr" if "--seed" in arguments else "bicubic", *arguments)
    assert done.code == 2, done.err
    assert done.err.count("error: ") == 1
    assert max(map(len, done.err.splitlines())) < 1000
    assert sorted(path.name for path in in_tmp.iterdir() if path.name != "photo.png") == ["a.png"]
