"""`sr doctor`: a report on the installation that can be pasted into a bug report."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from helpers.command import Run
from helpers.json_objects import check_object
from srcli.engine.runtimes.select import RUNTIMES
from srcli.report import doctor

REQUIREMENTS = [
    "numpy>=2",
    'torch>=2.6; extra == "torch"',
    'nothing-like-this>=1; extra == "sparse"',
    'another-one>=1; (sys_platform == "nowhere") and extra == "sparse"',
    'sr-cli[torch]; extra == "all"',
    'nor-this; extra == "dev"',
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_reachable", lambda endpoint: False)


def test_the_report_has_everything(sr: Run) -> None:
    done = sr("doctor", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    check_object(found, "Diagnosis")
    assert {runtime["name"] for runtime in found["runtimes"]} == set(RUNTIMES)
    assert all(r["megapixels_per_second"] > 0 for r in found["runtimes"] if not r["problem"])
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert "cpu" in " ".join(found["devices"])
    assert found["hub_answers"] is False


def test_lines_for_people(sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_try_runtime", lambda name: doctor.RuntimeState(name, None, "", "no wheel"))
    monkeypatch.setattr(doctor, "find_missing_extras", lambda: {"raw": ["rawpy"]})
    done = sr("doctor")
    assert done.code == 1  # nothing upscales
    assert "runtime ncnn: does not work: no wheel" in done.out
    assert "not installed: rawpy; pip install 'sr-cli[raw]'" in done.out
    assert "does not answer; `sr models add FILE`" in done.out


def test_missing_extras_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIREMENTS)
    installed = lambda name: None if name in ("nothing-like-this", "another-one", "nor-this") else "1"  # noqa: E731
    monkeypatch.setattr(doctor, "_find_version", installed)
    assert doctor.find_missing_extras() == {"sparse": ["nothing-like-this"]}


def test_folders_are_measured(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(bytes(1000))
    (tmp_path / "a" / "b" / "two").write_bytes(bytes(24))
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "one")
    assert doctor.measure_folder(tmp_path) == 1024
    assert doctor.measure_folder(tmp_path / "none") == 0
