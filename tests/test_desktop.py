"""`sr desktop`: what is written for each file manager, and that the entry upscales."""

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.command import Run
from srcli.cli.desktop_files import get_command, list_files
from srcli.imaging.image import read_image

COMMAND = ("/opt/my python/bin/python", "-m", "srcli", "upscale", "-x2")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "platform", "linux")
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setattr(Path, "home", lambda: folder)
    return folder


def test_the_script_of_nautilus_upscales_the_selected_files(home: Path, photo: Path, sr: Run) -> None:
    done = sr("desktop", "install", "-x2", "-m", "bicubic")
    assert done.code == 0
    script = Path(done.out.splitlines()[0])
    assert script == home / ".local/share/nautilus/scripts/Enlarge"
    awkward = photo.rename(photo.with_name("it's $HOME `a` 100%.png"))
    other = awkward.with_name("second.png")
    other.write_bytes(awkward.read_bytes())
    selected = {"NAUTILUS_SCRIPT_SELECTED_FILE_PATHS": f"{awkward}\n{other}\n"}
    subprocess.run([str(script)], env={**os.environ, **selected}, check=True, cwd=home)
    for path in (awkward, other):
        assert read_image(path.with_name(f"{path.stem}_x2.png")).pixels.shape == (120, 160, 3)


def test_the_script_reports_a_failure(home: Path, sr: Run) -> None:
    script = sr("desktop", "install").out.splitlines()[0]
    selected = {"NAUTILUS_SCRIPT_SELECTED_FILE_PATHS": f"{home}/missing.png\n"}
    assert subprocess.run([script], env={**os.environ, **selected}, check=False).returncode == 1


def test_remove_leaves_nothing_behind(home: Path, sr: Run) -> None:
    installed = sr("desktop", "install").out
    assert sr("desktop", "install").out == installed
    assert sr("desktop", "remove").out == installed
    assert not [path for path in home.rglob("*") if path.is_file()]
    assert "no entry" in sr("desktop", "remove").err


def test_the_quick_action_of_finder(home: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {file.path.name: plistlib.loads(file.content) for file in list_files("darwin", home, COMMAND)}
    [service] = files["Info.plist"]["NSServices"]
    assert service["NSMenuItem"] == {"default": "Enlarge"}
    assert service["NSSendFileTypes"] == ["public.image"]
    [entry] = files["document.wflow"]["actions"]
    shell = entry["action"]["ActionParameters"]
    assert shell["inputMethod"] == 1
    assert shell["COMMAND_STRING"].endswith("'/opt/my python/bin/python' -m srcli upscale -x2 \"$@\"\n")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert sr("desktop", "install").code == 0
    assert (home / "Library/Services/Enlarge.workflow/Contents/document.wflow").exists()
    sr("desktop", "remove")
    assert list((home / "Library/Services").iterdir()) == []


def test_the_entry_of_explorer() -> None:
    [file] = list_files("win32", Path("C:/Users/me"), (r"C:\100% Python\python.exe", *COMMAND[1:]))
    assert file.path.as_posix().endswith("AppData/Roaming/Microsoft/Windows/SendTo/Enlarge.cmd")
    lines = file.content.decode().split("\r\n")
    assert r'"C:\100%% Python\python.exe" "-m" "srcli" "upscale" "-x2" %*' in lines


def test_the_entry_of_dolphin(home: Path) -> None:
    [_, file] = list_files("linux", home, ("/opt/a b/$x%", "upscale"))
    assert file.path == home / ".local/share/kio/servicemenus/sr-enlarge.desktop"
    assert r'Exec="/opt/a b/\\$x%%" "upscale" %F' in file.content.decode().splitlines()
    assert file.is_executable


def test_the_entry_runs_this_python() -> None:
    assert get_command(["-x2"]) == (sys.executable, "-m", "srcli", "upscale", "-x2")
