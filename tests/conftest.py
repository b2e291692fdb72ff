"""What many tests share: the shared folder, a photograph, and `sr` as a function."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each process has a core: more threads would only be in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What is started in the background is often deaf to Ctrl-C, and so would be all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hub_stand import Stand, running
from srcli.cli.app import run
from srcli.imaging.image import Image, read, write
from tools.small import SMALL

__all__ = ["ROOT", "SAMPLES", "SHARED", "SMALL"]

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "srcli" / "samples"
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def sr(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cached or kept in a test does not outlive it."""
    monkeypatch.setenv("SR_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SR_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def stand() -> Iterator[Stand]:
    """A stand-in for the Hub."""
    with running() as server:
        yield server


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    return SHARED


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small photograph as PNG."""
    path = tmp_path / "photo.png"
    write(path, Image(read(SAMPLES / "chelsea.png").pixels[100:160, 120:200]))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small photographs."""
    folder = tmp_path / "photos"
    for name in ("astronaut", "chelsea", "coffee"):
        write(folder / f"{name}.png", Image(read(SAMPLES / f"{name}.png").pixels[60:156, 150:246]))
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def copy_sample(name: str, to: Path) -> Path:
    return Path(shutil.copy(SAMPLES / name, to))
