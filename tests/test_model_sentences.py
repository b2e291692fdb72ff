"""`sr models` helps to choose: a sentence and a speed for each model, that are right."""

import json
from pathlib import Path

import pytest

from helpers.command import Run
from helpers.images import copy_sample
from srcli import archs, manifest
from srcli.cli import console
from srcli.engine.complexity import count_cost
from srcli.engine.measurements import read_speed, record_speed
from srcli.report.model_sentences import SPEEDS, find_sentence

MODELS = sorted({entry.model for entry in manifest.load_own()})


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_sentence(model: str) -> None:
    speed, sentence = find_sentence(model)
    assert speed in SPEEDS
    assert "Yours" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) <= 90


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_speed_is_that_of_its_multiply_adds(model: str) -> None:
    entries = manifest.find_entries(model)
    entry = entries.get(4) or next(iter(entries.values()))
    spec = archs.Spec(entry.arch, entry.scale, entry.config)
    height, width = 720 // entry.scale * entry.scale, 1280 // entry.scale * entry.scale
    work = count_cost(spec, height, width).multiply_adds / 1e9
    assert find_sentence(model)[0] == next(speed for speed, most in SPEEDS.items() if work < most)


@pytest.mark.parametrize("columns", [44, 80])
def test_the_list_fits_the_terminal(columns: int, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(console, "out", console.Output(is_stderr=False))  # reads COLUMNS when it is made
    done = sr("models", "list", "--bundled")
    assert done.code == 0
    assert all(len(line) <= max(columns, 60) for line in done.out.splitlines() if not line.startswith("No "))
    for model in manifest.list_bundled_models(4):
        assert model in done.out
        assert find_sentence(model)[1].split()[-1] in done.out


def test_json_has_sizes_that_are_numbers_or_null(sr: Run) -> None:
    found = json.loads(sr("models", "list", "--json").out)
    assert [each["model"] for each in found] == list(dict.fromkeys(e.model for e in manifest.load()))
    for each in found:
        assert all(isinstance(w["bytes"], int | None) for w in each["weights"])
    assert "unknown" in sr("models", "list", "--details").out
    assert "?" not in sr("models", "list", "--details").out


@pytest.mark.parametrize("columns", [44, 80])
def test_models_that_were_used_have_their_speed(
    columns: int, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(console, "out", console.Output(is_stderr=False))
    monkeypatch.setattr("srcli.batch.work.is_busy", lambda: False)
    assert "MP/s" not in sr("models", "list", "--bundled").out
    photo = copy_sample("coffee.png", tmp_path)
    done = sr("upscale", photo, "-x2", "-m", "fsrcnn", "-o", tmp_path / "large.png", "--json")
    record = json.loads(done.out)
    speeds = {
        each["model"]: each["megapixels_per_second"]
        for each in json.loads(sr("models", "list", "--json").out)
    }
    assert speeds["fsrcnn"] == pytest.approx(0.96 / record["seconds"], rel=0.05)
    assert speeds["slimres"] is None
    lines = [line for line in sr("models", "list", "--bundled").out.splitlines() if "MP/s" in line]
    assert len(lines) == 1
    assert lines[0].startswith("fsrcnn")
    assert f"{speeds['fsrcnn']:.2g} MP/s" in lines[0]
    record_speed("fsrcnn", speeds["fsrcnn"] / 2)  # the machine was busy
    assert read_speed("fsrcnn") == speeds["fsrcnn"]


def test_a_picture_gets_recommendations(tmp_path: Path, sr: Run) -> None:
    photo = copy_sample("coffee.png", tmp_path)
    (tmp_path / "bad.png").write_text("no")
    done = sr("models", "recommend", photo, tmp_path / "bad.png")
    assert done.code == 3
    assert done.out.splitlines()[0] == f"{photo}: a clean photograph"
    assert f"-m slimres (by default): {find_sentence('slimres')[1]}" in done.out.replace(", best at hand", "")
    assert "-m fsrcnn (fastest)" in done.out
