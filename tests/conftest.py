"""What many tests share: the shared folder, a photograph, and `sr` as a function."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hub_stand import Stand, running
from srcli.cli.app import run
from srcli.imaging.image import Image, read, write

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "srcli" / "samples"
SHARED = ROOT.parent / "shared"


# Networks cut down so that tests of what holds for every network are quick; those with attention in the range
# of [0, 1], as random weights on 255 open and shut its gates at the slightest difference.
SMALL: dict[str, dict[str, Any]] = {
    "bsrn": {"blocks": 2, "features": 16},
    "carn": {"features": 16},
    "cran": {"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    "csnln": {"depth": 1, "features": 4, "cell": 6},
    "dbpn": {"stages": 3, "features": 16, "head": 16},
    "drcn": {"recursions": 3, "features": 16},
    "drrn": {"units": 3, "features": 16},
    "edsr": {"blocks": 2, "features": 16},
    "falsr": {"features": 32},
    "han": {"groups": 2, "blocks": 1, "features": 16, "span": 1.0, "mean": 1.0},
    "imdn": {"blocks": 2, "features": 16},
    "lapar": {"features": 8, "blocks": 1},
    "lapsrn": {"layers": 2, "features": 8},
    "latticenet": {"units": 2, "features": 16},
    "mdsr": {"blocks": 2, "features": 16},
    "rcan": {"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    "rdn": {"blocks": 2, "layers": 2, "growth": 8, "features": 16},
    "rfdn": {"blocks": 2, "features": 16},
    "rlfn": {"blocks": 2, "features": 16, "span": 1.0},
    "rrdbnet": {"blocks": 1, "features": 16, "growth": 8},
    "safmn": {"blocks": 2, "features": 16},
    "san": {"groups": 2, "blocks": 1, "features": 32, "cell": 96, "span": 1.0, "mean": 1.0},
    "span": {"features": 16, "span": 1.0, "mean": 1.0},
    "splut": {"size": "s"},
    "srdensenet": {"blocks": 2, "layers": 2, "growth": 8},
    "srresnet": {"blocks": 2, "features": 16},
    "srvgg": {"convs": 3, "features": 16},
    "superresnet": {"blocks": 2, "features": 16},
    "vdsr": {"layers": 5, "features": 16},
}


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
    """What is cached in a test does not outlive it."""
    monkeypatch.setenv("SR_CACHE", str(tmp_path_factory.mktemp("cache")))


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
