"""Fixtures of all tests: `sr` as a function, photographs, caches of their own."""

import gc
import itertools
import os
import signal
import traceback
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.command import CommandResult, Run
from helpers.fake_hub import FakeHub, serve
from helpers.paths import SAMPLES, SHARED

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each process has one core; more threads would only compete for it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from srcli.cli.app import run
from srcli.errors import is_optional
from srcli.imaging.image import Image, read_image, write_image


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--arch", metavar="NAME", help="run only the tests of one network")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    arch = config.getoption("--arch")
    if arch:
        chosen = [item for item in items if is_about(item, arch)]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_collection_finish() -> None:
    """Leave modules and collected tests out of garbage collections, of which each would go through them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test whose own code imports an extra that is not installed, as in `make check-install`."""
    try:
        return (yield)
    except ModuleNotFoundError as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if is_optional(error.name or "") and Path(place).is_relative_to(Path(__file__).parent):
            pytest.skip(f"needs {error.name}")
        raise


def is_about(item: pytest.Item, arch: str) -> bool:
    """Return whether a test has the network as its parameter or in its name."""
    callspec = getattr(item, "callspec", None)
    if callspec and "arch" in callspec.params:
        return bool(callspec.params["arch"] == arch)
    return f"_{arch}_" in item.name.partition("[")[0] + "_"


@pytest.fixture
def sr(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""

    def call(*arguments: object) -> CommandResult:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def new_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that do not exist yet. pytest's `mktemp` lists all earlier ones each time: minutes in all."""
    base = tmp_path_factory.mktemp("caches")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(new_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache and state folder."""
    folder = next(new_folders)
    for name in ("models", "cache", "state"):
        (folder / name).mkdir(parents=True)
        monkeypatch.setenv(f"SR_{name.upper()}", str(folder / name))


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    """A fake Hugging Face Hub that runs until the end of the test."""
    with serve() as server:
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
    write_image(path, Image(read_image(SAMPLES / "chelsea.png").pixels[100:160, 120:200]))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small photographs."""
    folder = tmp_path / "photos"
    for name in ("astronaut", "chelsea", "coffee"):
        write_image(
            folder / f"{name}.png", Image(read_image(SAMPLES / f"{name}.png").pixels[60:156, 150:246])
        )
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
