"""The Dockerfiles: their steps work on the files that are sent to the builder. No image is built here."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT

DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")


def read_instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile and what follows each."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return [(word, rest) for word, rest in pairs]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what `.dockerignore` lets through."""
    folder = tmp_path_factory.mktemp("context")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = ROOT / line[1:], folder / line[1:]
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return folder


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_wheel_is_complete(name: str, context: Path, tmp_path: Path) -> None:
    [build] = [rest for word, rest in read_instructions(name) if word == "RUN" and "hatchling build" in rest]
    command = build.replace("python ", f"'{sys.executable}' ").replace("/wheels", str(tmp_path))
    subprocess.run(["sh", "-c", command], cwd=context, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "whole")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [built], [whole] = tmp_path.glob("*.whl"), (tmp_path / "whole").glob("*.whl")
    assert zipfile.ZipFile(built).namelist() == zipfile.ZipFile(whole).namelist()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_it_does_not_run_as_root(name: str) -> None:
    words = [word for word, _ in read_instructions(name)]
    assert ("USER", "sr") in read_instructions(name)
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert ("ENTRYPOINT", '["sr"]') in read_instructions(name)


def test_extras_exist() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = "".join((ROOT / name).read_text() for name in DOCKERFILES)
    named = ",".join(re.findall(r'EXTRAS="?\[([\w,]+)\]', text)).split(",")
    assert "torch" in named
    assert set(named) <= set(known)
