"""Runs of `sr bench`: interrupted, in several processes, with failing images, with given low resolution."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage
from skimage.metrics import peak_signal_noise_ratio

from helpers.command import Run, assert_same_scores, read_scores
from helpers.json_objects import check_object
from helpers.paths import ROOT, SAMPLES
from srcli import bench, datasets, methods
from srcli.bench import costs, events, lineup, protocols, runner
from srcli.bench.lineup import build_lineup
from srcli.bench.metrics import BUILT_IN, Pair
from srcli.bench.plan import Plan
from srcli.bench.protocols import PROTOCOLS, Reduction
from srcli.errors import SrError
from srcli.imaging.degrade.degradations import degrade_image, downscale_bicubic, parse_degradation
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import crop_to_multiple, from_uint8, to_uint8
from srcli.imaging.resize import resize_8bit

# Python code that kills itself, like kill -9, once five scores are on disk.
KILLED = """
import os, sys
from srcli.bench.score_cache import ScoreCache
from srcli.cli.app import run
keep, kept = ScoreCache.add, []
def add(self, key, score):
    keep(self, key, score)
    kept.append(key)
    if len(kept) == 5:
        os.kill(os.getpid(), 9)
ScoreCache.add = add
run(sys.argv[1:])
"""


def test_a_killed_run_goes_on_where_it_stopped(photos: Path, in_tmp: Path, sr: Run) -> None:
    words = ["bench", "-d", str(photos), "-x2", "-m", "bicubic", "--json", "r.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not Path("r.json").exists()
    (cache,) = (Path(os.environ["SR_CACHE"]) / "bench").iterdir()
    with cache.open("a") as file:
        file.write('{"key": "cut o')
    again = sr(*words)
    assert again.code == 0, again.err
    assert "resuming an interrupted run: 5 scores are already there" in again.err
    assert not cache.exists()
    at_once = sr(*words[:-1], "whole.json")
    assert "resuming" not in at_once.err
    assert_same_scores(Path("r.json"), Path("whole.json"))
    assert len(read_scores(Path("r.json"))) == 3


def test_a_run_from_python_reports_every_score(photos: Path) -> None:
    seen: list[object] = []
    results = bench.run(bench.BenchRequest((str(photos),), (2,), ("fsrcnn",)), seen.append)
    assert [(row.method, row.images) for row in results.rows] == [
        (name, 3) for name in ("nearest", "bilinear", "bicubic", "fsrcnn")
    ]
    scores = [event.result for event in seen if isinstance(event, events.ImageScored)]
    assert sorted(map(repr, scores)) == sorted(map(repr, results.images))
    checked = [type(event).__name__ for event in seen if not isinstance(event, events.ImageScored)]
    assert checked == ["CheckStarted", *["ImageChecked"] * 3, "ScoringStarted", "Finished"]


def test_a_cache_that_cannot_be_written_stops_nothing(
    photos: Path, in_tmp: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("SR_CACHE", "file/cache")
    done = sr("bench", "-d", photos, "-x2", "-m", "bicubic")
    assert done.code == 0, done.err
    assert "photos x2" in done.out


def test_what_changed_since_the_kill_is_measured_again(photos: Path, sr: Run) -> None:
    plan = Plan((datasets.open_folder(photos),), (2,), build_lineup(["bicubic"], [], methods.MethodOptions()))
    tasks = list(plan.list_tasks())
    seen: list[object] = []

    def stop(event: object) -> None:
        seen.append(event)
        if sum(isinstance(each, events.ImageScored) for each in seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_plan(plan, tasks, emit=stop)
    assert runner.count_cached_scores(plan, tasks) == 2
    assert runner.count_cached_scores(replace(plan, metrics=("mse",)), tasks) == 0
    assert runner.count_cached_scores(replace(plan, reduction=Reduction(PROTOCOLS["pil"])), tasks) == 0
    shutil.copy(photos / "coffee.png", photos / "astronaut.png")
    assert runner.count_cached_scores(plan, tasks) == 1


def test_processes_side_by_side_give_the_same_figures(photos: Path, in_tmp: Path, sr: Run) -> None:
    words = ["bench", "-d", photos, "-x2", "-m", "fsrcnn"]
    for workers_, name in ((1, "one.json"), (2, "two.json")):
        done = sr(*words, "--workers", workers_, "--json", name)
        assert done.code == 0, done.err
    assert_same_scores(Path("one.json"), Path("two.json"))
    assert "times were measured with 2 processes in parallel" in done.out


def test_ctrl_c_ends_all_processes(photos: Path, in_tmp: Path) -> None:
    code = KILLED.replace("len(kept) == 5", "len(kept) == 1").replace("getpid(), 9", "getpid(), 2")
    code = code.replace("run(sys.argv[1:])", "sys.exit(run(sys.argv[1:]))")
    words = ["bench", "-d", str(photos), "-x2", "-m", "bicubic", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert child.returncode == 130, child.stderr
    assert child.stderr.strip() == "interrupted; run the same command again to resume"
    assert child.stdout == ""


def test_an_image_that_fails_is_named_and_the_others_are_done(
    photos: Path, in_tmp: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(photos / "large.png", Image(read_image(SAMPLES / "coffee.png").pixels[:120, :120]))
    load_method = methods.load_method

    def fragile(name: str, scale: float, options: methods.MethodOptions) -> methods.Method:
        method = load_method(name, scale, options)

        def run(pixels: np.ndarray, x: float) -> np.ndarray:
            if pixels.shape == (60, 60, 3):
                raise SrError("it does not fit")
            return method(pixels, x)

        return methods.FunctionMethod(name, run=run) if name == "fsrcnn" else method

    monkeypatch.setattr(methods, "load_method", fragile)
    for cached in (lineup.load_lineup, lineup.describe_lineup):
        cached.cache_clear()
    done = sr("bench", "-d", photos, "-x2", "-m", "fsrcnn", "--json", "r.json")
    assert done.code == 3
    assert "error: large of photos x2, fsrcnn: it does not fit" in done.err
    assert "large of photos x2 is left out: fsrcnn: it does not fit" in done.out
    assert [(row[2], row[3]) for row in read_scores(Path("r.json"))] == [
        (name, 3) for name in ("nearest", "bilinear", "bicubic", "fsrcnn")
    ]
    assert json.loads(Path("r.json").read_text())["failures"][0]["image"] == "large"
    for cached in (lineup.load_lineup, lineup.describe_lineup):
        cached.cache_clear()


def test_a_corrupt_image_is_told_before_the_work(photos: Path, in_tmp: Path, sr: Run) -> None:
    (photos / "bad.png").write_bytes((photos / "coffee.png").read_bytes()[:2000])
    done = sr("bench", "-d", photos, "-x2", "-m", "bicubic", "--json", "r.json")
    assert (done.code, done.out) == (1, "")
    assert "bad.png" in done.err
    assert "--keep-going" in done.err
    done = sr("bench", "-d", photos, "-x2", "-m", "bicubic", "--keep-going", "--json", "r.json")
    assert done.code == 3
    assert "bad.png" in done.err
    assert {row[3] for row in read_scores(Path("r.json"))} == {3}


def test_low_resolution_of_ones_own(photos: Path, in_tmp: Path, sr: Run) -> None:
    for path in sorted(photos.iterdir()):
        write_image(
            Path("low/X2") / f"{path.stem}x2.png", Image(downscale_bicubic(read_image(path).pixels, 2))
        )
    for given, name in ((photos, "made.json"), (f"{photos},lr=low", "given.json")):
        done = sr("bench", "-d", given, "-x2", "-m", "bicubic", "--json", name)
        assert done.code == 0, done.err
    assert read_scores(Path("made.json")) == read_scores(Path("given.json"))
    write_image(Path("low/X2/coffeex2.png"), Image(np.zeros((40, 48, 3), np.float32)))
    done = sr("bench", "-d", f"{photos},lr=low", "-x2")
    assert done.code == 1
    assert "coffee of photos: low/X2/coffeex2.png is 48x40, but 96x96 at x2 needs 48x48" in done.err
    Path("low/X2/coffeex2.png").unlink()
    done = sr("bench", "-d", f"{photos},lr=low/X{{scale}}", "-x2")
    assert "coffee.png has no partner in low/X2" in done.err


@pytest.mark.parity
def test_the_papers_own_low_resolution_gives_the_papers_rows(shared: Path, sr: Run) -> None:
    place = shared / "data" / "Set5"
    done = sr("bench", "-d", f"Set5={place},lr={place}/LR_bicubic", "-x3", "-m", "bicubic", "--markdown")
    assert done.code == 0, done.err
    assert "| Set5 | x3 | bicubic | **30.40** |" in done.out


def test_degradations_are_seeded_and_named(photos: Path, in_tmp: Path, sr: Run) -> None:
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        words = ["--degrade", "noise,sigma=30", "--seed", seed, "--save-lr", name, "--json", f"{name}.json"]
        done = sr("bench", "-d", photos, "-x2", "-m", "bicubic", *words)
        assert done.code == 0, done.err
    assert "protocol y-crop, noise,sigma=30, seed 1" in done.out
    a, b, c = (read_scores(Path(f"{name}.json")) for name in "abc")
    assert a == b
    assert a != c
    kept = sorted(path.name for path in Path("a/photos/x2").iterdir())
    assert kept == ["astronaut.png", "chelsea.png", "coffee.png"]
    assert Path("a/photos/x2/coffee.png").read_bytes() != Path("c/photos/x2/coffee.png").read_bytes()


def test_a_degradation_is_the_one_of_training(photos: Path) -> None:
    hr = read_image(photos / "coffee.png").pixels
    made = Reduction(PROTOCOLS["y-crop"], "blur,sigma=1.6,size=7").make_reducer("coffee", 2)(hr)
    rng = np.random.default_rng(0)
    assert np.array_equal(made, degrade_image(hr, 2, parse_degradation("blur,sigma=1.6,size=7"), rng))


def test_images_that_are_kept_score_what_was_printed(photos: Path, in_tmp: Path, sr: Run) -> None:
    done = sr("bench", "-d", photos, "-x2", "-m", "fsrcnn", "--save", "kept", "--json", "r.json")
    assert done.code == 0, done.err
    values = []
    for path in sorted(photos.iterdir()):
        pair = Pair(read_image(Path("kept/photos/x2/fsrcnn") / path.name).pixels, read_image(path).pixels, 2)
        values.append(BUILT_IN["psnr-y"].measure(pair))
    assert read_scores(Path("r.json"))[-1][4] == pytest.approx(np.mean(values))
    inside = sr("bench", "-d", photos, "--save", photos / "out")
    assert inside.code == 2
    assert "is inside photos, whose images are measured" in inside.err


def test_protocols_are_what_they_say(photos: Path) -> None:
    hr = read_image(photos / "coffee.png").pixels
    small = PilImage.fromarray(to_uint8(hr)).resize((32, 32), PilImage.Resampling.BICUBIC)
    pil = PROTOCOLS["pil"].reduce(hr, 3)
    assert np.array_equal(pil, from_uint8(np.asarray(small)))
    assert np.abs(pil - downscale_bicubic(hr, 3)).max() < 0.04  # other than MATLAB's, but not by much
    sr = resize_8bit(downscale_bicubic(hr, 3), 96, 96)
    ours = BUILT_IN["psnr-rgb"].measure(Pair(sr, hr, 3))
    inner = [to_uint8(image)[3:-3, 3:-3] for image in (hr, sr)]
    assert ours == pytest.approx(peak_signal_noise_ratio(*inner, data_range=255), abs=1e-9)


def test_metrics_of_a_protocol_and_others_are_shown(in_tmp: Path, sr: Run) -> None:
    write_image(Path("one/coffee.png"), Image(read_image(SAMPLES / "coffee.png").pixels[:204, :304]))
    words = ["-d", "one", "--protocol", "rgb-crop", "--metric", "niqe", "--metric", "mse-y"]
    done = sr("bench", "-x2", "-m", "bicubic", *words)
    assert done.code == 0, done.err
    heading = next(line for line in done.out.splitlines() if "Method" in line)
    assert heading.split()[1:5] == ["PSNR-RGB", "SSIM-RGB", "NIQE", "MSE-Y"]
    assert max(map(len, done.out.splitlines())) <= 80


def test_runs_become_one_table(photos: Path, in_tmp: Path, sr: Run) -> None:
    for model, name in (("fsrcnn", "a.json"), ("espcn", "b.json")):
        assert sr("bench", "-d", photos, "-x2", "-m", model, "--json", name).code == 0
    raw = json.loads(Path("b.json").read_text())
    raw["conditions"]["machine"] = "another"
    Path("b.json").write_text(json.dumps(raw))
    done = sr(
        "bench", "--from", "a.json", "--from", "b.json", "--stats", "--csv", "r.csv", "--json", "c.json"
    )
    assert done.code == 0, done.err
    names = [row[2] for row in read_scores(Path("c.json"))]
    assert names == [
        *("nearest (a)", "bilinear (a)", "bicubic (a)", "fsrcnn"),
        *("nearest (b)", "bilinear (b)", "bicubic (b)", "espcn"),
    ]
    assert Path("r.csv").read_text().splitlines()[0].endswith("psnr_y_low,psnr_y_high")
    same = sr("bench", "--from", "a.json", "--from", "a.json", "--markdown")
    assert same.out.count("| photos | x2 |") == 4
    raw["protocol"] = "pil"
    Path("b.json").write_text(json.dumps(raw))
    done = sr("bench", "--from", "a.json", "--from", "b.json")
    assert done.code == 2
    assert "results of 'y-crop' and 'pil' are not comparable" in done.err


def test_two_sets_of_one_name_are_refused(photos: Path, in_tmp: Path, sr: Run) -> None:
    shutil.copytree(photos, "other/photos")
    done = sr("bench", "-d", photos, "-d", "other/photos")
    assert done.code == 2
    assert "two data sets are called photos" in done.err
    assert sr("bench", "-d", photos, "-d", "mine=other/photos", "-x2", "-m", "bicubic").code == 0


def test_images_of_one_stem_are_kept_apart(photos: Path) -> None:
    write_image(photos / "coffee.tif", Image(read_image(photos / "coffee.png").pixels))
    assert len(set(datasets.open_folder(photos).names)) == 4


def test_a_model_is_left_out_where_it_has_no_weights(photos: Path, sr: Run) -> None:
    both = build_lineup(["bicubic", "srgan"], [], methods.MethodOptions())
    assert both.check_scales([2, 3]) == ["srgan has no weights for x3 and is left out there"]
    assert [method.name for method in both.at_scale(3)] == ["bicubic"]


def test_weight_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    bundled = ROOT / "srcli" / "weights" / "fsrcnn-x2.safetensors"
    files = [bundled, tmp_path / bundled.name]
    shutil.copy(*files)
    model, file, _ = entered = build_lineup(["fsrcnn"], files, methods.MethodOptions()).methods
    assert len({method.name for method in entered}) == 3
    assert not file.has_scale(3)
    assert file.find_spec(2) == model.find_spec(2)


def test_costs_are_those_of_the_table_of_models(
    in_tmp: Path, photos: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "measure_peak_memory", lambda method, scale, options: 123.4)
    done = sr("bench", "-d", photos, "-x4", "-m", "fsrcnn", "--costs", "--json", "r.json")
    assert done.code == 0, done.err
    found = json.loads(Path("r.json").read_text())
    check_object(found, "Results")
    *others, fsrcnn = found["rows"]
    assert not any("multiply_adds" in row for row in others)
    counted = json.loads((ROOT / "benchmarks" / "results" / "costs.json").read_text())["rows"]
    (known,) = (row for row in counted if (row["name"], row["scale"]) == ("FSRCNN", 4))
    assert (fsrcnn["params"], fsrcnn["multiply_adds"]) == (known["parameters"], known["multiply_adds"])
    assert "0.92G" in done.out
    assert " 123" in done.out


def test_memory_is_that_of_a_process_of_its_own() -> None:
    (bicubic,) = build_lineup(["bicubic"], [], methods.MethodOptions()).methods
    ballast = np.ones(2**26)  # 512 MiB, which only this process has
    own = costs.read_peak_memory() or 0
    assert own > ballast.nbytes / 2**20
    peak = costs.measure_peak_memory(bicubic, 4, methods.MethodOptions()) or 0
    # More than the output of 1280x720 takes in float, and without the ballast.
    assert 1280 * 720 * 3 * 4 / 2**20 < peak < own


@pytest.mark.parametrize("scale", [2, 4])
def test_figures_do_not_depend_on_the_runtime(scale: int) -> None:
    """To a hundredth of a decibel: ncnn and torch, on photographs."""
    values = []
    for runtime in ("ncnn", "torch"):
        execution = bench.Execution(device="cpu", resume=False)
        options = methods.MethodOptions(runtime=runtime)
        request = bench.BenchRequest(
            ("samples",), (scale,), ("fsrcnn",), execution=execution, options=options
        )
        results = bench.run(request)
        values.append([score.psnr_y for score in results.images])
    assert values[0] == pytest.approx(values[1], abs=0.01)


@pytest.mark.gpu
def test_figures_do_not_depend_on_the_device() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    values = []
    for device in ("cpu", "cuda"):
        execution = bench.Execution(device=device, resume=False)
        options = methods.MethodOptions(runtime="torch")
        models = ("fsrcnn", "ecbsr")
        request = bench.BenchRequest(scales=(2, 4), models=models, execution=execution, options=options)
        results = bench.run(request)
        values.append([score.psnr_y for score in results.images])
    assert values[0] == pytest.approx(values[1], abs=0.01)


def test_seeds_do_not_depend_on_the_order() -> None:
    reduction = Reduction(protocols.PROTOCOLS["y-crop"], "noise", 3)
    hr = crop_to_multiple(read_image(SAMPLES / "coffee.png").pixels[:64, :64], 2)
    first = reduction.make_reducer("a", 2)(hr)
    reduction.make_reducer("b", 2)(hr)
    assert np.array_equal(reduction.make_reducer("a", 2)(hr), first)
    assert not np.array_equal(reduction.make_reducer("b", 2)(hr), first)
