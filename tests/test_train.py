"""Training: it learns, it can stop and go on anywhere, and its result is a model like any other."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import SMALL, Run
from srcli import archs, datasets
from srcli.engine.device import Device
from srcli.engine.weights import read_header, read_spec, read_state
from srcli.errors import SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade import bicubic_lr
from srcli.imaging.image import Image, read, write
from srcli.imaging.pixels import to_uint8
from srcli.train import data, loop, recipes

CPU = Device("cpu", "float32", "test")


def setup_of(photos: Path, folder: Path, arch: str = "fsrcnn", **changes: object) -> loop.Setup:
    defaults = {"patch": 12, "batch": 4, "steps": 12, "validate_every": 6, "warmup": 2}
    recipe = recipes.changed(recipes.find(arch, 2), {**defaults, **changes})
    pre_upsampled = archs.traits(arch).pre_upsampled
    store = data.load(photos, recipe.scale, recipe.patch, pre_upsampled, lambda done, total: None)
    folder.mkdir(exist_ok=True)
    return loop.Setup(recipe, CPU, folder, store, list(datasets.folder(photos).pictures())[:1])


@pytest.mark.parametrize("arch", sorted(recipes.RECIPES))
def test_every_network_has_a_recipe_and_learns(arch: str, photos: Path, tmp_path: Path) -> None:
    assert set(recipes.RECIPES) == set(archs.names())
    small = {"config": SMALL[arch]} if arch in SMALL else {}
    rate = {"learning_rate": 1e-3}
    setup = setup_of(photos, tmp_path / "run", arch, steps=150, validate_every=150, **rate, **small)
    losses = [loop.take_step(state, setup) for state in [loop.start(setup.recipe, CPU)] for _ in range(150)]
    assert np.mean(losses[-20:]) < np.mean(losses[:5]) / 2


def test_pairs_are_what_the_protocol_makes(photos: Path) -> None:
    store = data.load(photos, 3, 10, pre_upsampled=False, tick=lambda done, total: None)
    hr = read(photos / "astronaut.png").pixels
    np.testing.assert_array_equal(store.pairs[0].hr, to_uint8(hr))
    np.testing.assert_array_equal(store.pairs[0].lr, to_uint8(bicubic_lr(hr, 3)))
    assert store.areas().sum() == pytest.approx(1)


def test_images_that_cannot_be_used_are_named_and_left_out(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no")
    write(photos / "small.png", Image(np.zeros((20, 90, 3), np.float32)))
    store = data.load(photos, 2, 16, pre_upsampled=False, tick=lambda done, total: None)
    assert len(store.pairs) == 3
    assert "broken.jpg is not an image" in store.left_out[0]
    assert "small.png is smaller than a patch of 32x32" in store.left_out[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_matching_crops_in_every_orientation(photos: Path, channels: int) -> None:
    """A reduced high-resolution patch is the low-resolution one, but for its border and rounding."""
    store = data.load(photos, 2, 16, pre_upsampled=False, tick=lambda done, total: None)
    lr, hr = data.draw(store, 16, 20, channels, np.random.default_rng(1))
    assert lr.shape == (20, channels, 16, 16)
    assert hr.shape == (20, channels, 32, 32)
    mean = torch.nn.functional.avg_pool2d(hr, 2)
    assert (mean - lr)[..., 2:-2, 2:-2].abs().mean() < 0.02


def test_luma_batches_are_luma(photos: Path) -> None:
    store = data.load(photos, 2, 16, pre_upsampled=False, tick=lambda done, total: None)
    (y, _), (rgb, _) = (data.draw(store, 16, 3, n, np.random.default_rng(1)) for n in (1, 3))
    np.testing.assert_allclose(y[:, 0], luma(rgb.permute(0, 2, 3, 1).numpy()), atol=1e-6)


def test_stopping_and_going_on_changes_nothing(photos: Path, tmp_path: Path) -> None:
    whole = setup_of(photos, tmp_path / "whole")
    for _ in loop.run(loop.start(whole.recipe, CPU), whole):
        pass
    parts = replace(whole, folder=tmp_path / "parts")
    loop.check_new(parts.folder)
    steps = loop.run(loop.start(parts.recipe, CPU), parts)
    for progress in steps:
        if progress.step == 7:
            break
    steps.close()
    state, recipe = loop.resume(parts.folder, CPU, {"steps": None})
    assert (state.step, recipe) == (7, parts.recipe)
    for _ in loop.run(state, parts):
        pass
    a, b = (read_state(loop.weights_path(s.folder, s.recipe)) for s in (whole, parts))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=1e-5, atol=1e-7)
    logs = [(s.folder / loop.LOG).read_text().splitlines() for s in (whole, parts)]
    assert [json.loads(line)["step"] for line in logs[1]] == [6, 12]
    assert json.loads(logs[0][-1])["psnr_y"] == pytest.approx(json.loads(logs[1][-1])["psnr_y"], abs=1e-3)


def test_warm_start_takes_what_fits(photos: Path, tmp_path: Path) -> None:
    setup = setup_of(photos, tmp_path / "run", steps=6)
    for _ in loop.run(loop.start(setup.recipe, CPU), setup):
        pass
    path = loop.weights_path(setup.folder, setup.recipe)
    other = replace(setup.recipe, scale=4, init=str(path))
    torch.testing.assert_close(loop.start(other, CPU).network.state_dict(), read_state(path))
    with pytest.raises(SrError, match="no tensor that fits"):
        loop.start(replace(recipes.find("espcn", 2), init=str(path)), CPU)


Spoil = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("spoil", [lambda loss: loss * float("inf"), lambda loss: (loss - loss).sqrt()])
def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_good_state(
    spoil: Spoil,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An infinite loss, and a finite one whose gradient is not: neither reaches the weights."""
    setup = setup_of(photos, tmp_path / "run")
    steps = loop.run(loop.start(setup.recipe, CPU), setup)
    next(steps)
    plain = loop.LOSSES["l2"]
    with monkeypatch.context() as patch:
        patch.setitem(loop.LOSSES, "l2", lambda out, hr: spoil(plain(out, hr)))
        with pytest.raises(SrError, match="l2 loss or its gradient is not finite at step 1"):
            next(steps)
    state, recipe = loop.resume(setup.folder, CPU, {"learning_rate": 1e-4})
    assert (state.step, recipe.learning_rate) == (1, 1e-4)
    for network in (state.network, state.ema):
        assert all(weight.isfinite().all() for weight in network.state_dict().values())
    assert np.isfinite(loop.take_step(state, setup))


def test_schedule_warms_up_and_anneals() -> None:
    recipe = replace(recipes.find("fsrcnn", 2), steps=1000, warmup=100)
    rates = [loop.learning_rate(recipe, step) for step in range(1001)]
    assert rates[0] == pytest.approx(recipe.learning_rate / 100)
    assert max(rates) == rates[100] == pytest.approx(recipe.learning_rate)
    assert rates[-1] == pytest.approx(recipe.learning_rate / 100)
    assert all(a >= b for a, b in pairwise(rates[100:]))


def test_the_command_makes_weights_that_all_commands_take(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "run"
    small = ("--patch", 12, "--batch", 4, "--steps", 20, "--validate-every", 10)
    done = sr("train", "espcn", "-x3", "--data", photos, "--valid", photos, "--out", out, *small)
    assert done.code == 0, done.err
    weights = out / "espcn-x3.safetensors"
    assert f"{weights}  PSNR-Y" in done.out
    spec = read_spec(weights)
    assert spec is not None
    assert (spec.arch, spec.scale) == ("espcn", 3)
    assert json.loads(read_header(weights)["recipe"])["steps"] == 20
    photo = photos / "coffee.png"
    for command in (
        ("upscale", photo, "-x3", "-w", weights, "-o", tmp_path / "a.png"),
        ("bench", "-d", photos, "-x3", "-w", weights),
        ("compare", photo, "-x3", "--hr", "-w", weights, "-o", tmp_path / "c.png"),
    ):
        done = sr(*command)
        assert done.code == 0, done.err
        assert "espcn-x3" in done.out + done.err


def test_train_says_what_is_wrong(photos: Path, tmp_path: Path, sr: Run) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "state.pt").write_bytes(b"PK, but not really")
    small = ("--steps", 2, "--patch", 12)
    for arguments, message in (
        (["nope", "--data", photos], "no recipe to train 'nope'"),
        (["fsrcnn", "--data", tmp_path / "hollow"], "no usable image"),
        (["fsrcnn", "--data", tmp_path / "none"], "is not a folder"),
        (["fsrcnn", "--data", photos, "--patch", 500], "no usable image"),
        (["fsrcnn", "--data", photos, "--loss", "l3"], "no loss called 'l3'"),
        (["fsrcnn", "-x9", "--data", photos], "cannot be built for x9"),
        (["fsrcnn", "--data", photos, "--out", tmp_path / "used"], "holds a run already"),
        (["fsrcnn", "--data", photos, "--out", tmp_path / "used", "--resume"], "does not fit this run"),
        (["fsrcnn", "--data", photos, "--out", tmp_path / "none", "--resume"], "nothing to resume"),
        (["fsrcnn", "--data", photos, "--init", tmp_path / "no.pth"], "does not exist"),
        (["fsrcnn", "--data", photos, "--valid", tmp_path / "hollow"], "no images in"),
        (["fsrcnn"], "Missing option"),
    ):
        out = () if "--out" in arguments else ("--out", tmp_path / f"run-{message[:4]}-{len(arguments)}")
        done = sr("train", *arguments, *out, *(() if "--patch" in arguments else small))
        assert done.code in (1, 2), arguments
        assert message in done.err
        assert "hint:" in done.err
    assert not list(tmp_path.glob("run-*"))


def test_unknown_loss_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        recipes.changed(recipes.find("fsrcnn", 2), {"loss": "l3"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_state_that_resume_goes_on_with(
    number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["train", "fsrcnn", "-x2", "--data", photos, "--valid", photos, "--out", out, "--patch", "12"]
    command = [sys.executable, "-m", "srcli", *map(str, words)]
    process = subprocess.Popen([*command, "--validate-every", "10"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / loop.LOG).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "go on with the same command and --resume" in talk
    step = int(torch.load(out / loop.STATE, weights_only=True)["step"])
    assert step >= 10
    more = subprocess.run(
        [*command, "--resume", "--steps", str(step + 5)], capture_output=True, text=True, check=False
    )
    assert more.returncode == 0, more.stderr
    assert torch.load(out / loop.STATE, weights_only=True)["step"] == step + 5
