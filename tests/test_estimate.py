"""Estimates before the work: structure, laws, and that they are about right."""

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.command import Run
from helpers.images import copy_sample
from helpers.json_objects import check_object
from helpers.paths import SAMPLES
from srcli.batch.events import Preparation
from srcli.cli import console
from srcli.cli.reporters import ConsoleReporter
from srcli.engine import calibration, upscaler
from srcli.engine.calibration import Rate
from srcli.engine.complexity import count_cost
from srcli.engine.measurements import measure_once
from srcli.errors import UsageError
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.image import Image, read_image, write_image
from srcli.methods import MethodOptions, load_method
from srcli.methods.classical import parse_duration
from srcli.storage.files import get_cache_folder
from srcli.upscaling import estimate

QUICK = Rate(0.001, 1e-6, 5e7, 1000)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates as if they had been measured: by the size of the network, so that the law is seen."""

    def rate(step: object, pixels: int) -> Rate:
        return Rate(0, step.runtime.info.params * 1e-10, 5e7, 1000)  # type: ignore[attr-defined]

    monkeypatch.setattr(estimate, "measure_rate", rate)
    monkeypatch.setattr(estimate, "_WORTH_COUNTING", 0)
    monkeypatch.setattr(estimate, "_time_upscaling", lambda method, scale: 1e-7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", 30), ("2m", 120), ("1.5h", 5400), ("2m30s", 150), ("45", 45), (" 2M ", 120)],
)
def test_times_as_people_write_them(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "0s", "-3s", "3 apples", "m", "1s!"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_larger_tiles_take_more(small: int, more: int) -> None:
    assert QUICK.seconds(small + more) > QUICK.seconds(small)
    assert QUICK.bytes(small + more) > QUICK.bytes(small)


def image(
    size: tuple[int, int], scale: float, *, streamed: bool = False, needs_whole: bool = False
) -> estimate.PlannedImage:
    info = replace(read_info(SAMPLES / "coffee.png"), size=size)
    larger = (round(size[0] * scale), round(size[1] * scale))
    return estimate.PlannedImage(info, larger, scale, streamed, needs_whole)


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "is_busy", lambda: False)


@pytest.mark.usefixtures("known")
def test_time_grows_with_pixels_and_streamed_memory_does_not() -> None:
    method = load_method("ecbsr", 4)
    small, large = (estimate.estimate_image(method, image((n, n), 4, streamed=True)) for n in (2000, 4000))
    assert large.seconds == pytest.approx(4 * small.seconds, rel=0.1)
    assert large.operations == pytest.approx(4 * small.operations)
    assert large.bytes < 1.5 * small.bytes
    assert (large.model, large.parameters) == ("ecbsr", method.params)
    held = estimate.estimate_image(method, image((2000, 2000), 4))
    assert small.bytes < held.bytes < 1e9
    assert estimate.estimate_image(method, image((2000, 2000), 4, needs_whole=True)).bytes > 3e9
    ensemble = load_method("ecbsr", 4, MethodOptions(self_ensemble=True))
    mean = estimate.estimate_image(ensemble, image((2000, 2000), 4, streamed=True))
    assert mean.tiles == 8 * held.tiles
    assert mean.bytes > 1.5e9


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("model", ["espcn", "fsrcnn"])
def test_operations_are_those_of_the_table_of_models(model: str) -> None:
    """Two for each multiply-add of the whole image."""
    method = load_method(model, 4)
    [step] = method.stages
    assert step.spec is not None
    found = estimate.estimate_image(method, image((320, 180), 4))
    assert found.operations == pytest.approx(2 * count_cost(step.spec, 720, 1280).multiply_adds, rel=0.02)


@pytest.mark.usefixtures("known")
def test_the_best_model_that_is_done_in_time() -> None:
    """More time never takes a worse one, and each that is taken is done in time."""
    images, taken = [image((640, 480), 4)], []
    for limit in np.geomspace(0.5, 100, 12):
        name = estimate.choose_model(float(limit), images, MethodOptions())
        assert estimate.estimate_total(name, images, MethodOptions()) <= limit
        taken.append(estimate.get_quality(name, 4) if name != estimate.FALLBACK else 0)
    assert taken == sorted(taken)
    assert (taken[0], name) == (0, "slimres")
    with pytest.raises(UsageError, match="no model can do this within 1e-06 s; bicubic would take"):
        estimate.choose_model(1e-6, images, MethodOptions())


def test_a_dry_run_writes_nothing_and_says_all(photo: Path, tmp_path: Path, sr: Run) -> None:
    done = sr("upscale", photo, "-x2", "--dry-run", "-o", tmp_path / "out.png")
    assert done.code == 0, done.err
    for words in ("80x60 -> 160x120", "slimres: ", "parameters", "1 tile", "about ", " MB"):
        assert words in done.out
    assert not (tmp_path / "out.png").exists()


def test_the_record_of_a_dry_run_counts_the_start_of_the_process(photo: Path) -> None:
    command = [sys.executable, "-m", "srcli", "upscale", photo, "-x2", "--dry-run", "--json"]
    record = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    check_object(record, "EstimatedImage")
    assert (record["from"], record["to"], record["tiles"]) == ([80, 60], [160, 120], 1)
    assert 0.05 < record["seconds"] < 60
    assert record["bytes"] > 2**20


def test_a_dry_run_announces_long_trials(photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_LONG", 0)
    monkeypatch.setattr(calibration, "is_busy", lambda: False)
    done = sr("upscale", photo, "-m", "espcn", "-x2", "--dry-run")
    assert (done.code, "measuring the network on this machine: " in done.err) == (0, True)
    assert "measuring" not in sr("upscale", photo, "-m", "espcn", "-x2", "--dry-run").err  # is known now


def test_a_trial_is_announced_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float | str | None] = []
    monkeypatch.setattr(calibration, "is_busy", lambda: False)
    monkeypatch.setattr(calibration, "measure_rate", lambda *how, **more: told.append("trial") or QUICK)
    [step] = load_method("espcn", 2, MethodOptions(wait=lambda _, seconds: told.append(seconds))).stages
    monkeypatch.setattr(calibration, "_LONG", math.inf)
    estimate.measure_rate(step, 10**6)
    assert told == ["trial"]
    monkeypatch.setattr(calibration, "_LONG", 0)
    calibration.fit_tile(step.runtime, 512, math.inf, step.wait)
    assert (told[1:3], type(told[3])) == ([None, "trial"], float)


def test_on_a_terminal_it_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(console.err, "print", lambda text, **how: lines.append(text))
    reporter = ConsoleReporter(has_bar=False)
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal)
        reporter.emit(Preparation("measuring", None))
        reporter.emit(Preparation("measuring", 2.0))
    assert lines == ["measuring: 2.0 s", "measuring ..."]


def test_a_dry_run_works_without_torch(photo: Path, sr: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("srcli.engine.complexity.count_cost", None)  # would need torch
    done = sr("upscale", photo, "-m", "ecbsr", "-x3", "--runtime", "ncnn", "--dry-run")
    assert done.code == 0, done.err
    assert "GFLOP" not in done.out
    assert "about " in done.out


def test_a_small_image_gets_a_small_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[tuple[object, ...]] = []
    monkeypatch.setattr(calibration, "measure_rate", lambda runtime, *how: trials.append(how) or QUICK)
    [step] = load_method("espcn", 3).stages
    for pixels in (80 * 60, 90 * 60, 10**6, 80 * 60):
        assert calibration.find_rate(step.runtime, "small", pixels) == QUICK
    assert trials == [((32, 64), 1), ((96, 192), 3)]  # each once, and the exact one is used where it is known
    calibration.check_rate(step.runtime, "small", [10_000], 1000)  # real work contradicts both
    calibration.find_rate(step.runtime, "small", 80 * 60)
    assert len(trials) == 3


def test_a_rate_is_positive_even_if_the_smaller_tile_took_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a busy machine; `--within` then took any model."""
    trials = [(0.2, 1000), (0.1, 4000)]
    monkeypatch.setattr(calibration, "_run_trial", lambda *how: trials.pop(0))
    [step] = load_method("espcn", 3).stages
    rate = calibration.measure_rate(step.runtime, (16, 32))
    assert (rate.pixel_seconds, rate.tile_seconds) == (pytest.approx(0.1 / 32**2), 0)


def test_rates_of_a_busy_machine_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [Rate(1, 1, 1, 1), Rate(2, 2, 2, 2), Rate(3, 3, 3, 3)]
    monkeypatch.setattr(calibration, "measure_rate", lambda *how, **more: rates.pop(0))
    monkeypatch.setattr(calibration, "is_busy", lambda: True)
    [step] = load_method("espcn", 3).stages
    assert calibration.find_rate(step.runtime, "busy").pixel_seconds == 1
    assert calibration.find_rate(step.runtime, "busy").pixel_seconds == 2
    monkeypatch.setattr(calibration, "is_busy", lambda: False)
    assert calibration.find_rate(step.runtime, "busy").pixel_seconds == 3
    monkeypatch.setattr(calibration, "is_busy", lambda: True)  # what is known is used
    assert calibration.find_rate(step.runtime, "busy").pixel_seconds == 3


def test_within_chooses_and_refuses(photo: Path, tmp_path: Path, sr: Run) -> None:
    done = sr("upscale", photo, "-x2", "--within", "10m", "-o", tmp_path / "a.png")
    assert done.code == 0, done.err
    assert "slimres is the best model within 10 min" in done.err
    done = sr("upscale", photo, "-x2", "--within", "0.000001s", "-o", tmp_path / "b.png")
    assert (done.code, "no model can do this within" in done.err) == (2, True)
    done = sr("upscale", photo, "-x2", "-m", "ecbsr", "--within", "0.000001s", "-o", tmp_path / "b.png")
    assert (done.code, "ecbsr would take about" in done.err) == (2, True)
    assert not (tmp_path / "b.png").exists()


def test_a_trial_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(calibration, "measure_rate", lambda *how, **more: made.append(1) or QUICK)
    [step] = load_method("espcn", 2).stages
    assert [calibration.find_rate(step.runtime, "espcn") for _ in range(3)] == [QUICK] * 3
    assert len(made) == 1
    calibration.find_rate(step.runtime, "another")
    assert len(made) == 2


def test_a_trial_that_is_old_is_made_again() -> None:
    made: list[int] = []

    def found() -> dict[str, float]:
        made.append(1)
        return {"seconds": float(len(made))}

    assert [measure_once(("a",), found)["seconds"] for _ in range(2)] == [1, 1]
    [file] = (get_cache_folder() / "calibration").iterdir()
    os.utime(file, (0, time.time() - 40 * 86400))
    assert measure_once(("a",), found, days=math.inf)["seconds"] == 1
    assert measure_once(("a",), found)["seconds"] == 2
    file.write_text("{")
    assert measure_once(("a",), found)["seconds"] == 3


@pytest.mark.parametrize(("share", "kept"), [(0.5, False), (0.9, True), (1.2, True), (1.6, False)])
def test_a_trial_that_real_work_contradicts_is_forgotten(
    share: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [step] = load_method("espcn", 2).stages
    monkeypatch.setattr(calibration, "measure_rate", lambda *how, **more: QUICK)
    areas = [500 * 500, 400 * 500]
    calibration.check_rate(step.runtime, "espcn", areas, 1)  # nothing is known, and nothing is wrong
    assert calibration.find_rate(step.runtime, "espcn") == QUICK
    calibration.check_rate(step.runtime, "espcn", areas, share * sum(map(QUICK.seconds, areas)))
    assert bool(list((get_cache_folder() / "calibration").iterdir())) == kept


def test_work_that_takes_long_is_compared_with_what_was_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    [step] = load_method("espcn", 2).stages
    slow = replace(step, tile=32)
    # No processor is as fast as that.
    monkeypatch.setattr(calibration, "measure_rate", lambda *how, **more: Rate(1e-12, 1e-15, 5e7, 1000))
    calibration.find_rate(step.runtime, str(step.spec))
    pixels = np.zeros((64, 80, 3), np.float32)
    monkeypatch.setattr(upscaler, "MIN_COMPARED_SECONDS", math.inf)
    slow(pixels)
    assert list((get_cache_folder() / "calibration").iterdir())
    monkeypatch.setattr(upscaler, "MIN_COMPARED_SECONDS", 0)
    slow(pixels)
    assert not list((get_cache_folder() / "calibration").iterdir())


def test_the_start_is_part_of_the_first_image(tmp_path: Path) -> None:
    """It is that of the process that estimates."""
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, Image(np.full((16, 16, 3), 0.5, np.float32)))
    command = [sys.executable, "-m", "srcli", "upscale", str(tmp_path), "-x4", "-m", "espcn"]
    options = ["--runtime", "ncnn", "--dry-run", "--json"]
    began = time.perf_counter()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    first, second = map(json.loads, done.stdout.splitlines())
    assert second["seconds"] + 0.05 < first["seconds"] < time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.skipif(os.getloadavg()[0] > 0.5, reason="others keep the machine busy")
def test_what_was_said_comes_true(tmp_path: Path) -> None:
    """Within 25 %, where the trials and the work have the machine to themselves; with the start."""
    path = copy_sample("coffee.png", tmp_path)
    command = ("upscale", str(path), "-x3", "-o", str(tmp_path / "out.png"), "--overwrite")
    program = [sys.executable, "-m", "srcli"]
    estimate = [*program, *command, "--dry-run", "--json"]
    said = json.loads(subprocess.run(estimate, check=True, capture_output=True).stdout)["seconds"]
    spent = math.inf
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([*program, *command], check=True, capture_output=True)
        spent = min(spent, time.perf_counter() - start)
    assert 0.75 < said / spent < 1.25


def test_a_dry_run_of_a_folder_leaves_out_what_the_run_does(tmp_path: Path, sr: Run) -> None:
    from PIL import Image as PilImage

    folder = tmp_path / "in"
    folder.mkdir()
    exif = PilImage.Exif()
    exif[0x0112] = 6  # on its side
    PilImage.new("RGB", (60, 40), (90, 120, 30)).save(folder / "a.jpg", exif=exif)
    PilImage.new("RGB", (60, 40)).save(folder / "b.png")
    (folder / "c.png").write_bytes(b"no image")
    command = ("upscale", folder, "-x2", "-m", "bicubic")
    dry = sr(*command, "--dry-run")
    assert dry.code == 3
    assert "c.png is not an image" in dry.err
    assert "40x60 -> 80x120" in dry.out
    assert dry.out.splitlines()[-1].startswith("2 images: about ")
    assert "40x60 -> 80x120" in sr("upscale", folder, "-x2", "--dry-run").out  # -m auto looks at the pixels
    assert sr(*command).code == dry.code
    assert read_image(tmp_path / "in_x2" / "a_x2.jpg").pixels.shape == (120, 80, 3)
