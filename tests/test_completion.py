"""What a Tab offers, asked as the shells ask; and that bash, where it is, does complete."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.paths import ROOT
from srcli import archs, datasets, manifest
from srcli.cli import completion
from srcli.cli.app import run
from srcli.methods import list_models


@dataclass(frozen=True)
class Asker:
    """What the script of a shell asks when Tab is pressed at the end of a line."""

    patch: pytest.MonkeyPatch
    seen: pytest.CaptureFixture[str]

    def __call__(self, shell: str, line: str, **more: str) -> tuple[int, str]:
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line}
        for name, value in {"_SR_COMPLETE": f"complete_{shell}", **asked, **more}.items():
            self.patch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            run([])
        out, err = self.seen.readouterr()
        assert err == ""
        return int(end.value.code or 0), out.strip()

    def offered(self, line: str) -> list[str]:
        code, out = self("bash", line)
        assert code == 0
        return out.split()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(monkeypatch, capsys)


def test_models_sets_and_networks(ask: Asker) -> None:
    assert ask.offered("sr upscale -m bi") == ["bilinear", "bicubic"]
    assert set(ask.offered("sr compare a.png --model ")) == set(list_models())
    assert ask.offered("sr bench --dataset Set") == ["Set5", "Set14"]
    assert ask.offered("sr train fsr") == ["fsrcnn"]
    assert ask.offered("sr models fetch ecbsr-x") == [e.name for e in manifest.load() if e.model == "ecbsr"]
    assert ask.offered("sr upscale --format ti") == ["tif", "tiff"]
    assert ask.offered("sr upscale --wat") == ["--watch"]


@pytest.mark.parametrize("line", ["sr upscale ", "sr upscale --weights ", "sr info pho", "sr bench -d pho"])
def test_files_are_left_to_the_shell(line: str, in_tmp: Path, photo: Path, ask: Asker) -> None:
    """Each completes them itself where nothing is offered: by `-o default`, `_files`, a condition."""
    assert ask("bash", line) == (0, "")
    assert ask("zsh", line) == (0, "_files")
    assert ask("fish", line, _TYPER_COMPLETE_FISH_ACTION="is-args")[0] == 1


def test_zsh_and_fish_show_what_a_model_is(ask: Asker) -> None:
    assert '"ecbsr":"x2 x3 x4"' in ask("zsh", "sr upscale -m ec")[1]
    assert ask("fish", "sr upscale -m ec", _TYPER_COMPLETE_FISH_ACTION="get-args") == (0, "ecbsr\tx2 x3 x4")
    assert ask("fish", "sr upscale -m ec", _TYPER_COMPLETE_FISH_ACTION="is-args")[0] == 0


def test_a_broken_sr_toml_is_no_hindrance(in_tmp: Path, ask: Asker) -> None:
    (in_tmp / "sr.toml").write_text("[tool.sr")
    assert ask.offered("sr upscale -m bi") == ["bilinear", "bicubic"]


def test_every_model_and_data_set_is_offered() -> None:
    assert sorted(name for name, _ in completion.models("")) == sorted(list_models())
    assert {*completion._DATASETS} == {"samples", *datasets.HUB_SETS}
    assert completion.archs("") == archs.names()


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("models networks entries archs datasets devices", "torch cv2 numpy huggingface_hub PIL"),
        ("formats", "torch cv2 huggingface_hub PIL"),  # the codecs themselves are asked
    ],
)
def test_nothing_heavy_is_loaded(names: str, heavy: str) -> None:
    code = (
        "import sys; from srcli.cli import completion;"
        f"[getattr(completion, name)('') for name in {names.split()}];"
        f"loaded = {set(heavy.split())} & set(sys.modules);"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    """With the script that `--show-completion` prints, by bash's own function."""
    (tmp_path / "sr").write_text(f'#!/bin/sh\nexec {sys.executable} -m srcli "$@"\n')
    (tmp_path / "sr").chmod(0o755)
    script = (
        'eval "$(sr --show-completion bash)"; COMP_WORDS=(sr upscale -m rea); COMP_CWORD=3;'
        '_sr_completion sr; echo "${COMPREPLY[@]}"; complete -p sr'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
                   "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # fmt: skip
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    found, rule = done.stdout.splitlines()
    assert found.split() == [name for name in manifest.list_models() if name.startswith("rea")]
    assert "-o default" in rule
