"""The wheel contains everything that `sr` needs without a checkout or a network."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT, SAMPLES


@pytest.fixture(scope="module")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_wheel_has_manifest_weights_and_samples(wheel_folder: Path) -> None:
    packed = [f"weights/slimres-x4.ncnn.{suffix}" for suffix in ("param", "bin", "json")]
    for name in ("weights_manifest.json", "weights/fsrcnn-x4.safetensors", "samples/coffee.png", *packed):
        assert (wheel_folder / "srcli" / name).stat().st_size > 0
    assert (wheel_folder / "srcli" / "weights" / "ATTRIBUTION.md").exists()
    for name in ("bench/published.toml", "imaging/metrics/niqe.json", "report/templates/bench.html.j2"):
        assert (wheel_folder / "srcli" / name).stat().st_size > 0
    assert (wheel_folder / "srcli" / "samples" / "README.md").exists()
    templates = ROOT / "srcli" / "report" / "templates"
    included = {path.name for path in (wheel_folder / "srcli" / "report" / "templates").iterdir()}
    assert included == {path.name for path in templates.iterdir()}


def test_wheel_has_the_man_page_and_completions(wheel_folder: Path) -> None:
    (share,) = wheel_folder.glob("*.data/data/share")
    files = sorted(str(path.relative_to(share)) for path in share.rglob("*") if path.is_file())
    assert files == [
        "bash-completion/completions/sr",
        "fish/vendor_completions.d/sr.fish",
        "man/man1/sr.1",
        "zsh/site-functions/_sr",
    ]


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "bash-completion/completions/sr"),
        ("zsh", "zsh/site-functions/_sr"),
        ("fish", "fish/vendor_completions.d/sr.fish"),
    ],
)
def test_completions_are_those_of_the_program(shell: str, place: str) -> None:
    environment = {**os.environ, "_SR_COMPLETE": f"source_{shell}"}
    code = "import sys; from srcli.cli.app import app; sys.argv = ['sr']; app(prog_name='sr')"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    assert (ROOT / "share" / place).read_text("utf-8").split() == done.stdout.split()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_man_page_is_rendered_without_warnings() -> None:
    page = ROOT / "share" / "man" / "man1" / "sr.1"
    words = ["groff", "-man", "-Tutf8", "-ww", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    plain = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    assert "SR UPSCALE" in plain
    assert "--long-edge" in plain


def test_the_installed_tool_works(wheel_folder: Path, tmp_path: Path) -> None:
    """Run from the unpacked wheel alone. -I would drop PYTHONPATH, so the path is checked."""
    code = (
        "import sys, srcli; from srcli.cli.app import run;"
        f"assert srcli.__file__.startswith({str(wheel_folder)!r}), srcli.__file__;"
        f"words = ['-x2', '-o', 'out.png', '--device', 'cpu', {str(SAMPLES / 'chelsea.png')!r}];"
        "code = run(['upscale', *words]);"
        "assert 'torch' not in sys.modules;"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel_folder), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "451x300 -> 902x600" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("upscale", "photo.png", "-x2"),
        ("upscale", "photo.png", "-x4", "-m", "photo-lite"),
        ("info", "photo.png"),
        ("compare", "photo.png", "-x2", "-o", "page.html", "-o", "crops.png"),
        ("models", "list"),
        ("bench", "-d", ".", "-x2"),
    ],
    ids=lambda words: words[0],
)
def test_the_core_imports_neither_torch_nor_opencv(words: tuple[str, ...], photo: Path) -> None:
    code = (
        "import sys\n"
        "from srcli.cli.app import run\n"
        "code = run(sys.argv[1:])\n"
        "found = {'torch', 'cv2', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not found, found\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    device = () if words[0] in ("info", "models") else ("--device", "cpu")
    command = [sys.executable, "-c", code, *words, *device]
    done = subprocess.run(
        command, cwd=photo.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
