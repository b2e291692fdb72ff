"""The wheel: it has everything that the tool needs to work with no checkout and no network."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT, SAMPLES


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and unpacked into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_has_manifest_weights_and_samples(installed: Path) -> None:
    packed = [f"weights/ecbsr-x4.ncnn.{suffix}" for suffix in ("param", "bin", "json")]
    for name in ("weights_manifest.json", "weights/fsrcnn-x4.safetensors", "samples/coffee.png", *packed):
        assert (installed / "srcli" / name).stat().st_size > 0
    assert (installed / "srcli" / "weights" / "ATTRIBUTION.md").exists()
    for name in ("bench/published.toml", "imaging/metrics/niqe.json", "report/templates/bench.html.j2"):
        assert (installed / "srcli" / name).stat().st_size > 0
    assert (installed / "srcli" / "samples" / "README.md").exists()
    templates = ROOT / "srcli" / "report" / "templates"
    held = {path.name for path in (installed / "srcli" / "report" / "templates").iterdir()}
    assert held == {path.name for path in templates.iterdir()}


def test_the_installed_tool_works(installed: Path, tmp_path: Path) -> None:
    """From the unpacked wheel alone: -I would drop PYTHONPATH, so the source is asserted instead."""
    code = (
        "import sys, srcli; from srcli.cli.app import run;"
        f"assert srcli.__file__.startswith({str(installed)!r}), srcli.__file__;"
        f"words = ['-x2', '-o', 'out.png', '--device', 'cpu', {str(SAMPLES / 'chelsea.png')!r}];"
        "code = run(['upscale', *words]);"
        "assert 'torch' not in sys.modules;"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "451x300 -> 902x600" in done.stdout
