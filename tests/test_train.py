"""Training: it learns, it can stop and go on anywhere, and its result is a model like any other."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.command import Run
from helpers.networks import SMALL
from helpers.training import build_setup, run_training
from srcli import archs, bench, datasets, methods
from srcli import train as training
from srcli.engine.device import Device
from srcli.engine.weights import files
from srcli.engine.weights.checkpoint import read_header
from srcli.engine.weights.files import read_spec, read_state
from srcli.errors import SrError, UsageError
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.train import events, loop, losses, recipe, recipes, schedule, state
from srcli.train.augment import Share
from srcli.train.degrade import resize
from srcli.train.luma import convert_channels
from srcli.train.runner import find_weights
from srcli.train.teacher import imitation_loss, load_teacher, replace_target

CPU = Device("cpu", "float32", "test")


def test_every_network_has_a_recipe() -> None:
    assert {recipes.find(name, 2).arch for name in recipes.names()} == set(archs.names())
    for name in recipes.names():
        for kind in recipes.PRESETS:
            recipe.check_recipe(recipes.preset(name, 2, kind))


@pytest.mark.slow
@pytest.mark.parametrize("arch", archs.names())
def test_every_network_learns(arch: str, photos: Path, tmp_path: Path) -> None:
    config = archs.facts(arch).small | archs.facts(arch).training
    plain = {"optimiser": "adam", "schedule": "constant", "initial": "own", "clip": 1.0, "clip_by": "norm"}
    rates = {"learning_rate": 1e-3, "last_rate": 1.0, "scales": (), "deep_supervision": (0.0, 0.0)}
    setup = build_setup(photos, tmp_path / "run", arch, steps=100, config=config, **plain, **rates)
    begun = state.start(setup.recipe, CPU)
    work = loop.prepare(begun, setup)
    losses: list[float] = []
    while len(losses) < 25 or np.mean(losses[-20:]) >= 0.7 * np.mean(losses[:5]):
        assert len(losses) < 100, "it has not learned in 100 steps"
        losses.append(sum(map(float, loop.take_step(begun, setup, work).terms.values())))


@pytest.mark.parametrize(("name", "optimiser"), [("fsrcnn", "adam"), ("fsrcnn", "soap"), ("srgan", "adam")])
def test_stopping_and_going_on_changes_nothing(
    name: str, optimiser: str, photos: Path, tmp_path: Path
) -> None:
    """Bit for bit, in the first phase and in the one against a discriminator."""
    gan = recipe.Gan(6, "l1=1,adversarial=0.01") if name == "srgan" else None
    more = {"gan": gan, "config": SMALL["srresnet"], "patch": 16} if gan else {}
    whole = build_setup(photos, tmp_path / "whole", name, optimiser=optimiser, **more)
    run_training(whole)
    parts = replace(whole, folder=tmp_path / "parts")
    loop.check_new(parts.folder)
    steps = loop.run(state.start(parts.recipe, CPU), parts)
    stop = 15 if gan else 7
    for progress in steps:
        if progress.step == stop:
            break
    steps.close()
    resumed, found = state.resume(parts.folder, CPU, {"steps": None})
    assert (resumed.step, found) == (stop, parts.recipe)
    for _ in loop.run(resumed, parts):
        pass
    a, b = (read_state(loop.weights_path(s.folder, s.recipe)) for s in (whole, parts))
    for key, value in a.items():
        torch.testing.assert_close(b[key], value, rtol=0, atol=0)
    logs = [(s.folder / loop.LOG).read_text().splitlines() for s in (whole, parts)]
    assert [json.loads(line)["step"] for line in logs[1]] == ([6, 12, 18] if gan else [6, 12])
    assert json.loads(logs[0][-1])["psnr_y"] == json.loads(logs[1][-1])["psnr_y"]


def test_what_was_validated_after_the_checkpoint_is_validated_again(photos: Path, tmp_path: Path) -> None:
    """Killed between the two: the log has an entry that the state knows nothing of, and half of another."""
    setup = build_setup(photos, tmp_path / "run")
    run_training(setup)
    whole = [json.loads(line) for line in (setup.folder / loop.LOG).read_text().splitlines()]
    (setup.folder / state.STATE).unlink()
    begun = state.start(setup.recipe, CPU)
    with (setup.folder / loop.LOG).open("a") as log:
        log.write('{"step": 3')
    for _ in loop.run(begun, setup):
        pass
    again = [json.loads(line) for line in (setup.folder / loop.LOG).read_text().splitlines()]
    assert [entry["step"] for entry in again] == [entry["step"] for entry in whole] == [6, 12]


def test_a_run_knows_itself_by_what_torchrun_calls_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    for noted, asked, same in (("", "", False), ("", "a", False), ("a", "a", True), ("a", "b", False)):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", noted)
        setup = build_setup(photos, folder)
        state.save(folder, state.start(setup.recipe, CPU), setup.recipe)
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", asked)
        assert state.is_this_run(folder) is same
    (folder / state.STATE).write_bytes(b"half")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    assert not state.is_this_run(folder)


def test_recipes_and_states_with_former_field_names_are_read(photos: Path, tmp_path: Path) -> None:
    gan = recipe.Gan(6, "l1=1,adversarial=0.01")
    setup = build_setup(photos, tmp_path / "run", "srgan", gan=gan, config=SMALL["srresnet"], patch=16)
    run_training(setup)
    path = setup.folder / state.STATE
    saved = torch.load(path, weights_only=True)
    for renamed, former in ((saved["recipe"], recipe.FORMER_NAMES), (saved, state.FORMER_NAMES)):
        for old, new in former.items():
            renamed[old] = renamed.pop(new)
    torch.save(saved, path)
    resumed, found = state.resume(setup.folder, CPU, {})
    assert (resumed.step, found) == (18, setup.recipe)
    assert resumed.discriminator is not None


def test_warm_start_takes_what_fits(photos: Path, tmp_path: Path) -> None:
    setup = build_setup(photos, tmp_path / "run", steps=6)
    run_training(setup)
    path = loop.weights_path(setup.folder, setup.recipe)
    other = replace(setup.recipe, scale=4, init=str(path))
    torch.testing.assert_close(state.start(other, CPU).network.state_dict(), read_state(path))
    with pytest.raises(SrError, match="no tensor that fits"):
        state.start(replace(recipes.find("espcn", 2), init=str(path)), CPU)


def test_networks_with_branches_are_saved_without_them_and_warm_start_again(
    photos: Path, tmp_path: Path
) -> None:
    config = {"blocks": 2, "features": 8}
    setup = build_setup(photos, tmp_path / "run", "ecbsr", config=config)
    begun, _ = run_training(setup)
    path = loop.weights_path(setup.folder, setup.recipe)
    spec = read_spec(path)
    assert spec is not None
    assert spec.config["branches"] is False
    again = state.start(replace(setup.recipe, init=str(path)), CPU).network
    batch = torch.rand(1, 1, 9, 9)
    plain = files.load_network(path, spec)
    torch.testing.assert_close(again(batch), plain(batch))
    torch.testing.assert_close(begun.ema(batch), plain(batch))


Spoil = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize("spoil", [lambda loss: loss * float("inf"), lambda loss: (loss - loss).sqrt()])
def test_a_loss_that_explodes_costs_half_the_rate_and_then_the_run(
    spoil: Spoil, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite loss, and a finite one whose gradient is not: neither reaches the weights."""
    setup = build_setup(photos, tmp_path / "run", loss="l2")
    begun = state.start(setup.recipe, CPU)
    steps = loop.run(begun, setup)
    next(steps)
    plain = losses.PIXEL["l2"]
    with monkeypatch.context() as patch:
        patch.setitem(losses.PIXEL, "l2", lambda images: spoil(plain(images)))
        for rate in ("0.5", "0.25", "0.125"):
            note = next(steps).note
            assert "not finite" in note
            assert "l2" in note
            assert f"resumed from step 0 at {rate} of the learning rate" in note
        with pytest.raises(SrError, match=r"l2.* is not finite at step 0"):
            next(steps)
    resumed, found = state.resume(setup.folder, CPU, {"learning_rate": 1e-4})
    assert (resumed.step, found.learning_rate, resumed.rate) == (0, 1e-4, 0.125)
    for network in (resumed.network, resumed.ema):
        assert all(weight.isfinite().all() for weight in network.state_dict().values())
    work = loop.prepare(resumed, setup)
    assert np.isfinite(float(loop.take_step(resumed, setup, work).terms["l2"]))


def test_losses_that_are_read_later_are_the_same(photos: Path, tmp_path: Path) -> None:
    """As on a GPU, where reading them at each step would make the processor wait."""
    begun, logs = [], []
    for every in (1, 5):
        setup = replace(build_setup(photos, tmp_path / f"run-{every}"), read_every=every)
        last, told = run_training(setup)
        begun.append(last.network.state_dict())
        logs.append((setup.folder / loop.LOG).read_text())
        assert told[-1].step == 12
    assert logs[0] == logs[1]
    assert all(torch.equal(begun[0][name], begun[1][name]) for name in begun[0])


def test_a_loss_that_explodes_unread_goes_back_to_the_last_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed at the next reading, and before anything is saved."""
    setup = replace(build_setup(photos, tmp_path / "run", loss="l2", validate_every=100), read_every=5)
    begun = state.start(setup.recipe, CPU)
    steps = loop.run(begun, setup)
    next(steps)
    plain = losses.PIXEL["l2"]
    with monkeypatch.context() as patch:
        patch.setitem(losses.PIXEL, "l2", lambda images: plain(images) * torch.nan)
        notes = [next(steps).note for _ in range(5)]
        assert notes[:4] == [""] * 4
        assert "l2 loss is not finite at step 1: resumed from step 0 at 0.5" in notes[4]
        next(steps)
        next(steps)
    steps.close()
    resumed, _ = state.resume(setup.folder, CPU, {})
    assert resumed.step == 0
    assert all(weight.isfinite().all() for weight in resumed.network.state_dict().values())


def test_a_full_disk_keeps_the_older_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = build_setup(photos, tmp_path / "run")
    begun = state.start(setup.recipe, CPU)
    state.save(setup.folder, begun, setup.recipe)
    older = (setup.folder / state.STATE).read_bytes()

    def full(path: Path, data: object) -> None:
        with path.open("wb") as file:
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SrError, match="No space left"):
        state.save(setup.folder, begun, setup.recipe)
    assert (setup.folder / state.STATE).read_bytes() == older
    assert len(list(setup.folder.iterdir())) == 1


@pytest.mark.slow
def test_a_run_of_two_phases_keeps_both_results(photos: Path, tmp_path: Path) -> None:
    gan = recipe.Gan(6, "l1=1,frequency=0.01,adversarial=0.01", discriminator="unet")
    setup = build_setup(photos, tmp_path / "run", "esrgan", gan=gan, config=SMALL["rrdbnet"], patch=16)
    begun, told = run_training(setup)
    assert begun.step == 18
    assert set(told[0].terms) == {"l1"}
    assert set(told[-1].terms) == {"l1", "frequency", "adversarial", "discriminator"}
    names = {path.name for path in setup.folder.glob("*.safetensors")}
    assert names == {"esrgan-x2.safetensors", "psnr-esrgan-x2.safetensors"}


def test_bebygan_learns_from_best_buddies_and_its_phases_blend(photos: Path, tmp_path: Path) -> None:
    """The quick form, on a small network; what lies between the results of both phases is one too."""
    gan = recipes.preset("bebygan", 2, "quick").gan
    assert gan is not None
    assert gan.regions == 0.025
    setup = build_setup(
        photos, tmp_path / "run", "bebygan",
        gan=replace(gan, steps=24, learning_rate=2e-3), config=SMALL["rrdbnet"], patch=16,
        schedule="constant", warmup=0, validate_every=100, learning_rate=2e-3,
    )  # fmt: skip
    _, told = run_training(setup)
    assert set(told[-1].terms) == {"best-buddy", "cycle", "adversarial", "discriminator"}
    lost = [step.terms["best-buddy"] + step.terms["cycle"] for step in told[12:]]
    assert np.mean(lost[-6:]) < 0.8 * np.mean(lost[:4])
    first, second = (loop.weights_path(setup.folder, setup.recipe, prefix) for prefix in ("psnr-", ""))
    between = tmp_path / "between.safetensors"
    files.blend_networks(first, second, 0.25, between)
    a, b, mixed = (read_state(path) for path in (first, second, between))
    for key, value in mixed.items():
        torch.testing.assert_close(value, 0.75 * a[key] + 0.25 * b[key])
    assert any((a[key] != b[key]).any() for key in a)


def test_several_scales_share_one_set_of_weights(photos: Path, tmp_path: Path) -> None:
    for name, config in (
        ("vdsr", {"layers": 3, "features": 8}),
        ("mdsr", {**SMALL["mdsr"], "tails": [2, 3]}),
    ):
        setup = build_setup(photos, tmp_path / name, name, scales=(2, 3), config=config)
        begun, told = run_training(setup)
        assert begun.step == 12
        assert np.isfinite(told[-1].loss)


def test_a_teacher_is_imitated(photos: Path, tmp_path: Path) -> None:
    teacher = build_setup(photos, tmp_path / "teacher")
    run_training(teacher)
    path = loop.weights_path(teacher.folder, teacher.recipe)
    pupil = build_setup(photos, tmp_path / "pupil", "espcn", teacher=str(path), distil=0.5)
    _, told = run_training(pupil)
    assert set(told[0].terms) == {"l2", "teacher"}
    other = build_setup(photos, tmp_path / "other", teacher=str(path), scale=3)
    with pytest.raises(SrError):
        loop.prepare(state.start(replace(other.recipe, teacher="nowhere.pth"), CPU), other)


@pytest.mark.parametrize(("teacher", "student"), [("edsr", "espcn"), ("espcn", "edsr"), ("edsr", "vdsr")])
def test_a_teacher_may_have_other_channels_and_another_input(
    teacher: str, student: str, photos: Path, tmp_path: Path
) -> None:
    """RGB for luma and the other way; a student of upscaled images. A student that is right loses nothing."""
    path = tmp_path / "teacher.safetensors"
    config = SMALL.get(teacher, {})
    files.save_network(path, archs.build(teacher, 2, config), archs.Spec(teacher, 2, config), {})
    setup = build_setup(
        photos, tmp_path / "run", student, config=SMALL.get(student, {}), teacher=str(path), scales=()
    )
    _, told = run_training(setup)
    assert all(np.isfinite(step.terms["teacher"]) for step in told)
    loaded = load_teacher(path, 2, CPU)
    _, batch = next(iter(loop.iterate_batches(setup.recipe, setup.draw, 0, 0)))
    inputs = resize(batch.lr, *batch.hr.shape[2:]) if loaded.pre_upsampled else batch.lr
    shown = loaded.network(convert_channels(inputs, loaded.channels))
    right = losses.Images(convert_channels(shown, batch.hr.shape[1]), batch.hr, batch.lr)
    right = replace(right, teacher=loaded.upscale(right, batch.fed))
    assert float(imitation_loss(right)) == pytest.approx(0, abs=1e-6)


def test_a_target_is_truth_teacher_or_their_mean() -> None:
    sr, hr, lr, shown = torch.rand(4, 2, 3, 4, 4)
    images = losses.Images(sr, hr, lr, shown)
    assert torch.equal(replace_target(images, "truth").hr, hr)
    assert torch.equal(replace_target(images, "teacher").hr, shown)
    torch.testing.assert_close(replace_target(images, "mean").hr, (hr + shown) / 2)
    with pytest.raises(UsageError, match="luma only"):
        replace_target(replace(images, teacher=shown[:, :1]), "teacher")


def test_luma_of_grey_is_the_luma_it_was_made_of() -> None:
    plane = torch.rand(2, 1, 4, 5)
    torch.testing.assert_close(convert_channels(convert_channels(plane, 3), 1), plane)
    rgb = torch.rand(2, 3, 4, 5)
    expected = luma(rgb.permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(convert_channels(rgb, 1)[:, 0].numpy(), expected, atol=1e-6)


def test_accumulated_batches_are_one_large_batch(photos: Path, tmp_path: Path) -> None:
    whole = build_setup(photos, tmp_path / "a", batch=8, steps=1, clip=0.0)
    parts = build_setup(photos, tmp_path / "b", batch=4, accumulate=2, steps=1, clip=0.0)
    batch = whole.draw(2, 12, 8, np.random.default_rng(0))
    halves = [whole.draw(2, 12, 8, np.random.default_rng(0), Share(number, 2)) for number in (0, 1)]
    results = []
    for setup, given in ((whole, [batch]), (parts, halves)):
        begun = state.start(setup.recipe, CPU)
        fixed = replace(setup, draw=partial(lambda left, *_: next(left), iter(given)))
        loop.take_step(begun, fixed, loop.prepare(begun, fixed))
        results.append([w.grad for w in begun.network.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_gradients_are_bounded_as_the_recipe_says() -> None:
    network = torch.nn.Linear(2, 1, bias=False)
    for by, bound, rate, expected in (
        ("norm", 1.0, 1.0, [0.6, 0.8]),
        ("value", 1.0, 1.0, [1.0, 1.0]),
        ("rate", 1.0, 0.5, [2.0, 2.0]),
        ("norm", 0.0, 1.0, [3.0, 4.0]),
    ):
        network.weight.grad = torch.tensor([[3.0, 4.0]])
        made = replace(recipes.find("fsrcnn", 2), clip=bound, clip_by=by)
        assert float(schedule.clip(network, made, rate)) == pytest.approx(5)
        torch.testing.assert_close(network.weight.grad, torch.tensor([expected]), rtol=1e-4, atol=1e-4)


def test_half_precision_learns_or_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = build_setup(photos, tmp_path / "run", "espcn", precision="bfloat16", steps=20)
    able = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    _, told = run_training(setup)
    assert told[-1].loss < told[0].loss
    able.update(avx512_bf16=False, amx_bf16=False)
    with pytest.raises(UsageError, match="no instructions for bfloat16"):
        run_training(setup)


def test_patches_grow(photos: Path, tmp_path: Path) -> None:
    setup = build_setup(photos, tmp_path / "run", patches=(8, 10))
    sides = [schedule.patch_at(setup.recipe, step) for step in range(12)]
    assert sides == [8, 8, 8, 10, 10, 10] + [12] * 6
    run_training(setup)


def test_schedule_warms_up_and_anneals() -> None:
    made = replace(recipes.find("fsrcnn", 2), steps=1000, warmup=100, decay_at=(0.5, 0.8))
    peak = made.learning_rate

    def rates(kind: str) -> list[float]:
        changed = replace(made, schedule=kind)
        phase = recipe.phase_at(changed, 0)
        return [schedule.learning_rate(changed, phase, step) for step in range(1001)]

    for kind in ("cosine", "step", "constant"):
        found = rates(kind)
        assert found[0] == pytest.approx(peak / 100)
        assert max(found) == found[100] == pytest.approx(peak)
        assert all(a >= b for a, b in pairwise(found[100:]))
    assert rates("cosine")[-1] == pytest.approx(peak / 100)
    assert rates("step")[500] == pytest.approx(peak / 2)
    assert rates("step")[-1] == pytest.approx(peak / 4)
    cycle = rates("one-cycle")
    assert cycle[0] == pytest.approx(peak / 25)
    assert max(cycle) == cycle[300] == pytest.approx(peak)
    assert cycle[-1] == pytest.approx(peak / 100)
    made = replace(made, warmup=0, cycles=4, floor=0.1)
    restarts = rates("cosine")
    assert restarts[0] == restarts[250] == restarts[750] == pytest.approx(peak)
    assert restarts[125] == pytest.approx(0.55 * peak)
    assert restarts[-1] == pytest.approx(peak / 10)
    made = replace(made, decay=0.1, decay_at=(0.2, 0.4, 0.6))
    assert rates("step")[-1] == pytest.approx(peak / 10)  # the floor


def test_the_second_phase_has_rates_of_its_own() -> None:
    made = replace(recipes.find("srgan", 4), steps=100)
    begin = recipe.phase_at(made, 100)
    assert begin.steps == 200_000
    for step, rate in ((100, 1e-4), (100_099, 1e-4), (100_100, 1e-5)):
        assert schedule.learning_rate(made, begin, step) == pytest.approx(rate)
    made = replace(recipes.find("bebygan", 4), steps=100, warmup=0)
    begin = recipe.phase_at(made, 100)
    for step in (100, 200_100, 400_100):
        assert schedule.learning_rate(made, begin, step) == pytest.approx(1e-4)
        assert schedule.learning_rate(made, begin, step + 199_999) < 1e-6


def test_the_last_layer_may_be_slower(photos: Path, tmp_path: Path) -> None:
    """With plain SGD's first step the change is the gradient times the rate."""
    setup = build_setup(
        photos, tmp_path / "run", optimiser="sgd", last_rate=0.1, learning_rate=1e-3, warmup=0
    )
    begun = state.start(setup.recipe, CPU)
    before = {name: weight.detach().clone() for name, weight in begun.network.named_parameters()}
    loop.take_step(begun, setup, loop.prepare(begun, setup))
    for name, weight in begun.network.named_parameters():
        rate = 1e-4 if name.startswith("last_part") else 1e-3
        torch.testing.assert_close(weight.detach(), before[name] - rate * weight.grad)


def test_weights_begin_as_the_recipe_says() -> None:
    def spread(text: str) -> float:
        made = replace(recipes.find("edsr", 2), initial=text)
        return float(state.start(made, CPU).network.state_dict()["body.0.body.0.weight"].std())

    assert spread("normal=0.02") == pytest.approx(0.02, rel=0.02)
    assert spread("he") == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert spread("he=0.1") == pytest.approx(0.1 * spread("he"), rel=0.02)
    assert spread("orthogonal") == pytest.approx((64 * 9) ** -0.5, rel=0.02)
    with pytest.raises(UsageError, match="no initialisation called 'magic'"):
        recipe.apply_assignments(recipes.find("edsr", 2), ["initial=magic"])


@pytest.mark.parametrize(("arch", "scale"), [("srresnet", 4), ("srresnet", 3), ("rrdbnet", 4)])
def test_a_network_can_begin_as_repeated_pixels(arch: str, scale: int) -> None:
    made = replace(recipes.find(arch, scale), initial="identity", config=SMALL[arch])
    network = state.start(made, CPU).network
    batch = torch.rand(1, 3, 12, 12)
    larger = torch.nn.functional.interpolate(batch, scale_factor=scale, mode="nearest")
    torch.testing.assert_close(network(batch), larger)
    network(batch).sum().backward()
    grads = [weight.grad for weight in network.parameters()]
    assert all(grad is not None for grad in grads)
    with pytest.raises(UsageError, match="cannot be initialised as an identity"):
        state.start(replace(recipes.find("edsr", 2), initial="identity"), CPU)


@pytest.mark.parametrize(("arch", "scale"), [("drcn", 2), ("lapsrn", 4)])
def test_what_is_shown_before_the_end_is_supervised(
    arch: str, scale: int, photos: Path, tmp_path: Path
) -> None:
    changes = {"deep_supervision": (0.5, 0.0), "config": SMALL[arch], "scale": scale}
    setup = build_setup(photos, tmp_path / "run", arch, optimiser="adam", loss="l1", **changes)
    begun, told = run_training(setup)
    assert set(told[0].terms) == {"l1", "stages"}
    assert told[0].terms["stages"] > 10 * told[-1].terms["stages"]  # its weight falls to nothing
    network = begun.network.eval()
    batch = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(network.intermediate_outputs(batch)[-1], network(batch))
    with pytest.raises(UsageError, match="espcn has no intermediate outputs"):
        run_training(build_setup(photos, tmp_path / "other", "espcn", deep_supervision=(1.0, 1.0)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiled_network_learns_the_same(photos: Path, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        setup = build_setup(photos, tmp_path / str(compiled), "espcn", steps=3, compile=compiled)
        losses.append([progress.loss for progress in run_training(setup)[1]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_network_that_cannot_be_compiled_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    monkeypatch.setattr(config, "force_disable_caches", True)
    torch.compiler.reset()
    with pytest.raises(SrError, match="can't be compiled") as caught:
        run_training(build_setup(photos, tmp_path / "run", "srcnn", compile=True))
    assert "--set compile=false" in caught.value.hint


def test_the_command_makes_weights_that_all_commands_take(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "run"
    small = ("--patch", 12, "--batch", 4, "--steps", 20, "--validate-every", 10)
    done = sr("train", "espcn", "-x3", "--data", photos, "--valid", photos, "--out", out, *small)
    assert done.code == 0, done.err
    weights = out / "espcn-x3.safetensors"
    assert f"{weights}  PSNR-Y" in done.out
    assert "than bicubic" in done.out
    assert f"sr upscale IMAGE -w {weights}" in done.err
    assert "step 10/20  PSNR-Y" in done.err
    spec = read_spec(weights)
    assert spec is not None
    assert (spec.arch, spec.scale) == ("espcn", 3)
    assert json.loads(read_header(weights)["recipe"])["steps"] == 20
    card = (out / "README.md").read_text()
    assert f"The images in `{photos}`" in card
    assert "![Loss and PSNR over the steps](curves.png)" in card
    assert f"{read_header(weights)['psnr_y']} dB, bicubic" in card
    assert "| steps | 20 |" in card
    photo = photos / "coffee.png"
    for command in (
        ("upscale", photo, "-x3", "-w", weights, "-o", tmp_path / "a.png"),
        ("bench", "-d", photos, "-x3", "-w", weights),
        ("compare", photo, "-x3", "--hr", "-w", weights, "-o", tmp_path / "c.png"),
    ):
        done = sr(*command)
        assert done.code == 0, done.err
        assert "espcn-x3" in done.out + done.err


def test_training_runs_from_python_and_tells_what_happens(photos: Path, tmp_path: Path) -> None:
    small = {"patch": 12, "batch": 4, "steps": 4, "validate_every": 2}
    request = training.TrainRequest(
        (str(photos),), "espcn", 2, validation=photos, output=tmp_path / "run", changes=small, device="cpu"
    )
    told: list[events.Event] = []
    summary = training.run(request, told.append)
    assert (summary.step, summary.interrupted) == (4, False)
    assert read_spec(summary.weights) == archs.Spec("espcn", 2)
    kinds = list(dict.fromkeys(type(event) for event in told))
    expected = [events.Started, events.Preparing, events.DataReady, events.StepDone, events.Validated]
    assert kinds == expected
    validated = [event for event in told if isinstance(event, events.Validated)]
    assert [event.step for event in validated] == [2, 4]
    assert list(validated[0].outputs) == ["bicubic", "espcn", "truth"]
    stopped = training.run(replace(request, output=tmp_path / "stopped"), told.append, lambda: len(told) > 12)
    assert stopped.interrupted
    assert told[-1] == events.Interrupted(stopped.step, tmp_path / "stopped")
    resumed = training.run(training.TrainRequest(resume=tmp_path / "stopped"))
    assert (resumed.step, resumed.interrupted) == (4, False)


def test_train_says_what_is_wrong(photos: Path, tmp_path: Path, sr: Run) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "state.pt").write_bytes(b"PK, but not really")
    small = ("--steps", 2, "--patch", 12)
    for arguments, message in (
        (["nope", "--data", photos], "no recipe called 'nope'"),
        (["fsrcnn", "--data", tmp_path / "hollow"], "no images in"),
        (["fsrcnn", "--data", tmp_path / "none"], "no data set or folder called"),
        (["fsrcnn", "--data", photos, "--patch", 500], "no usable image"),
        (["fsrcnn", "--data", photos, "--loss", "l3"], "no loss called 'l3'"),
        (["fsrcnn", "-x9", "--data", photos], "cannot be built for x9"),
        (["fsrcnn", "--data", photos, "--out", tmp_path / "used"], "already holds a run"),
        (["fsrcnn", "--data", photos, "--resume", tmp_path / "used"], "does not fit this run"),
        (["--resume", tmp_path / "none"], "nothing to resume"),
        (["fsrcnn", "--data", photos, "--for", "soon"], "soon"),
        (["fsrcnn", "--data", photos, "--init", tmp_path / "no.pth"], "does not exist"),
        (["fsrcnn", "--data", photos, "--valid", tmp_path / "hollow"], "no images in"),
        (["fsrcnn"], "no training images"),
        (["--data", photos], "no network given"),
        (["fsrcnn", "--data", photos, "--preset", "slow"], "no preset called 'slow'"),
        (["fsrcnn", "--data", photos, "--set", "batch"], "is not of the form FIELD=VALUE"),
        (["fsrcnn", "--data", photos, "--degrade", "fog"], "fog"),
    ):
        out = () if "--out" in arguments else ("--out", tmp_path / f"run-{message[:4]}-{len(arguments)}")
        done = sr("train", *arguments, *out, *(() if "--patch" in arguments else small))
        assert done.code in (1, 2), arguments
        assert message in done.err
        assert "hint:" in done.err
    assert not list(tmp_path.glob("run-*"))


def test_any_field_can_be_set_and_is_checked() -> None:
    made = recipe.apply_assignments(
        recipes.find("ecbsr", 2),
        [
            "batch=3",
            "rescale_factors=1,0.5",
            "config.residual=bicubic",
            "config.blocks=2",
            "gan.steps=5",
            "clip=1",
            "clip_by=value",
        ],
    )
    assert (made.batch, made.rescale_factors, made.clip_by) == (3, (1, 0.5), "value")
    assert made.config == {"residual": "bicubic", "blocks": 2}
    assert made.gan is not None
    assert made.gan.steps == 5
    for text, message in (
        ("batch", "is not of the form FIELD=VALUE"),
        ("colour=red", "no field 'colour'"),
        ("batch=many", "batch cannot be 'many'"),
        ("batch=0", "batch cannot be 0"),
        ("schedule=none", "no schedule called 'none'"),
        ("loss=l3", "no loss called 'l3'"),
        ("loss=adversarial", "needs a second phase"),
        ("gan.discriminator=judge", "no discriminator called 'judge'"),
        ("gan.schedule=one", "no schedule called 'one'"),
        ("gan.cycles=0", "gan.cycles cannot be 0"),
        ("gan.regions=25", "gan.regions cannot be 25"),
        ("degrade=fog", "fog"),
        ("augment=swirl", "swirl"),
        ("clip=x", "clip cannot be 'x'"),
        ("scale=3", "scale cannot be changed with --set"),
        ("gan.judge=3", "gan has no field 'judge'"),
        ("config.channels=5", "config.channels cannot be 5"),
        ("deep_supervision=1", "deep_supervision needs two weights"),
        ("scales=2,3", "ecbsr learns one scale in a run"),
    ):
        with pytest.raises(UsageError, match=message):
            recipe.apply_assignments(made, [text])
    with pytest.raises(UsageError) as caught:
        recipe.apply_assignments(made, ["learning-rate=1e-4"])
    assert caught.value.hint == "did you mean learning_rate?"
    with pytest.raises(UsageError) as caught:
        recipe.apply_assignments(recipes.find("mdsr", 2), ["config.tails=[2]"])
    assert caught.value.hint == "add --set config.tails=[2,3,4]"


def test_fine_tuning_begins_with_the_weights_it_is_given(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "tuned"
    small = ("--patch", 12, "--batch", 4, "--steps", 4)
    done = sr("train", "--from", "fsrcnn-x2", "--data", photos, "--valid", photos, "--out", out, *small)
    assert done.code == 0, done.err
    header = json.loads(read_header(out / "fsrcnn-x2.safetensors")["recipe"])
    assert header["learning_rate"] == pytest.approx(1e-4)
    assert header["optimiser"] == "adam"
    assert header["init"].endswith("fsrcnn-x2.safetensors")
    before = methods_psnr("fsrcnn", photos)
    assert float(read_header(out / "fsrcnn-x2.safetensors")["psnr_y"]) == pytest.approx(before, abs=0.3)
    for name, message in (("fsrcnn", "several weights"), ("nope", "no weights called 'nope'")):
        assert message in sr("train", "--from", name, "-x8", "--data", photos).err
    _, spec, path = find_weights("fsrcnn", 3)
    assert (spec.scale, path.name) == (3, "fsrcnn-x3.safetensors")
    assert "is fsrcnn x2, not edsr" in sr("train", "edsr", "--from", "fsrcnn-x2", "--data", photos).err


def methods_psnr(name: str, photos: Path) -> float:
    pictures = datasets.open_folder(photos).read_pictures()
    return bench.evaluate(methods.load_method(name, 2), pictures, 2).psnr_y


def test_pictures_are_left_at_every_validation(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "run"
    small = ("--patch", 12, "--batch", 4, "--steps", 4, "--validate-every", 2)
    assert sr("train", "fsrcnn", "-x2", "--data", photos, "--valid", photos, "--out", out, *small).code == 0
    assert read_image(out / "curves.png").pixels.shape == (400, 1000, 3)
    names = [path.name for path in sorted((out / "samples").iterdir())]
    assert names == ["step-0000002.png", "step-0000004.png"]


def test_tensorboard_gets_every_figure(
    photos: Path, tmp_path: Path, sr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--patch", 12, "--batch", 4, "--steps", 2, "--data", photos, "--valid", photos)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard", None)
        patch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
        done = sr("train", "fsrcnn", "-x2", "--out", tmp_path / "none", "--tensorboard", *small)
    assert done.code == 1
    assert "pip install 'sr-cli[tensorboard]'" in done.err
    assert not (tmp_path / "none").exists()
    pytest.importorskip("tensorboard")
    done = sr("train", "fsrcnn", "-x2", "--out", tmp_path / "run", "--tensorboard", *small)
    assert done.code == 0, done.err
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_list_names_every_recipe(sr: Run) -> None:
    shown = sr("train", "--list").out
    assert all(name in shown for name in recipes.names())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_state_that_resume_goes_on_with(
    number: signal.Signals, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["train", "fsrcnn", "-x2", "--data", photos, "--valid", photos, "--out", out, "--patch", "12"]
    command = [sys.executable, "-m", "srcli", *map(str, words)]
    process = subprocess.Popen(
        [*command, "--validate-every", "10", "--preset", "paper"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (out / loop.LOG).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert f"to continue: sr train --resume {out}" in talk
    step = int(torch.load(out / state.STATE, weights_only=True)["step"])
    assert step >= 10
    more = subprocess.run(
        [*command[:3], "train", "--resume", out, "--steps", str(step + 5)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert more.returncode == 0, more.stderr
    assert torch.load(out / state.STATE, weights_only=True)["step"] == step + 5
