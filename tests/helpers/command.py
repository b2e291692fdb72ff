"""Running `sr`, in this process or another, and waiting for what it does."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

BICUBIC_X2 = ("-m", "bicubic", "-x2")
NEAREST_X2 = ("-m", "nearest", "-x2")


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str


Run = Callable[..., CommandResult]


def start_sr(*arguments: object, cwd: Path, prefix: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    words = [*prefix, sys.executable, "-m", "srcli", *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)


def wait_until(check: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def list_outputs(out: Path) -> list[Path]:
    """Return the finished images of a folder: a file being written has a name that starts with a dot."""
    return list(out.glob("[!.]*.png"))


def read_scores(path: Path) -> list[tuple[object, ...]]:
    """Return the rows of a result file of `sr bench` without their timings."""
    rows = json.loads(path.read_text())["rows"]
    return [(r["dataset"], r["scale"], r["method"], r["images"], r["psnr_y"], r["ssim_y"]) for r in rows]


def assert_same_scores(one: Path, other: Path) -> None:
    """Compare the rows of two result files.

    Processes with other numbers of threads may add floats in another order, which can move a sample that is
    about to be rounded by one level: at most 1e-3 dB in the mean of an image.
    """
    for row, twin in zip(read_scores(one), read_scores(other), strict=True):
        assert row[:4] == twin[:4]
        assert row[4:] == pytest.approx(twin[4:], abs=1e-3)
