"""Junk for every option of every command: one line and exit 2, or the work; never a traceback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from helpers.command import Run
from srcli.cli.app import app

_JUNK = (
    "", " ", "-", "..", "a\0b", "\x1b[2J", "{stem:d}", "{", "%s", "9" * 5_000, "-1", "0", "1e400",
    "nan", "inf", "-inf", str(2**63), str(2**64), "1.5", "x", "x9", "gpu", "cuda:99", "xyz", "0x10",
    "1" * 400 + "G", "\u0663", "1x1x1", "1x", "-5x7", "99999x99999!", "=1+1", "s3://", "hf://", "unknown://a",
    "\n", "a,b", "[[[[", "{}", "'",
)  # fmt: skip
# They wait for a cluster or for devices, or write the image to stdout, which tests replace.
_LEFT_OUT = {("upscale", "--ray"), ("bench", "--ray"), ("upscale", "--device"), ("train", "--gpus")}


def list_options() -> Iterator[tuple[str, str]]:
    group: Any = typer.main.get_group(app)
    for name, command in group.commands.items():
        for words, each in [
            (name, command),
            *((f"{name} {sub}", inner) for sub, inner in getattr(command, "commands", {}).items()),
        ]:
            for parameter in each.params:
                flag = next((flag for flag in parameter.opts if flag.startswith("--")), None)
                if flag and not getattr(parameter, "is_flag", False) and (words, flag) not in _LEFT_OUT:
                    yield words, flag


# Each command with an image, a method and a size that take no time; the option is added.
_BASES = {
    "upscale": ("upscale", "a.png", "-m", "bicubic", "-o", "o.png", "--overwrite"),
    # At a scale that the self-check has no figure for: it would take most of the time.
    "bench": ("bench", "-d", "in", "-m", "bicubic", "-x5"),
    "compare": ("compare", "a.png", "-m", "bicubic", "-m", "nearest", "-x2", "-o", "c.png", "--overwrite"),
    "train": ("train", "fsrcnn", "--data", "missing", "--valid", "missing", "--out", "run"),
    "export": ("export", "nothing"),
    "models list": ("models", "list"),
    "models push": ("models", "push", "missing.safetensors", "--dry-run"),
    "models blend": ("models", "blend", "missing.pth", "missing.pth"),
    "jobs export": ("jobs", "export", "missing"),
}


@pytest.fixture
def work(in_tmp: Path, photo: Path) -> Path:
    (in_tmp / "in").mkdir()
    (in_tmp / "a.png").write_bytes(photo.read_bytes())
    (in_tmp / "in" / "a.png").write_bytes(photo.read_bytes())
    return in_tmp


@pytest.mark.slow
@pytest.mark.parametrize(("command", "option"), list(list_options()))
def test_junk_is_refused_in_one_line_or_taken(command: str, option: str, work: Path, sr: Run) -> None:
    for value in _JUNK:
        if (option, value) == ("--output", "-"):
            continue
        done = sr(*_BASES.get(command, tuple(command.split())), f"{option}={value}")
        assert done.code in (0, 1, 2, 3), (value[:40], done)
        assert "unexpectedly" not in done.err, (value[:40], done.err[:300])
        assert "\x1b" not in done.err + done.out
        assert max(map(len, done.err.splitlines()), default=0) < 1000, (value[:40], done.err[:300])
        if done.code == 0:
            assert "error: " not in done.err


@pytest.mark.parametrize("command", ["upscale", "compare", "bench"])
def test_an_empty_value_is_refused(command: str, work: Path, sr: Run) -> None:
    for option in ("--within", "--model"):
        done = sr(*_BASES[command], option, "")
        assert done.code == 2
        assert f"{option} is empty" in done.err
