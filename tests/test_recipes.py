"""Recipes: fields that are checked, phases that are tried before they begin, starts that keep the signal."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.command import Run
from helpers.networks import CPU, SMALL
from helpers.training import build_setup, run_training
from srcli import archs
from srcli.cli import train_reporter
from srcli.cli.train_reporter import TrainReporter, format_duration, format_fields, format_speed
from srcli.datasets import Picture
from srcli.engine.weights import hub
from srcli.engine.weights.checkpoint import read_header
from srcli.engine.weights.hub import HubError
from srcli.errors import UsageError
from srcli.imaging.codecs.reading import read_info
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import crop_to_multiple
from srcli.train import (
    TrainRequest,
    discriminators,
    events,
    loop,
    recipe,
    recipes,
    runner,
    state,
    time_budget,
)
from srcli.train.recipe import Recipe
from tools.published_recipes import Published, find_differences, read_published

ADVERSARIAL = [name for name in recipes.names() if recipes.find(name, 2).gan]


def test_there_are_recipes_with_a_second_phase() -> None:
    assert ADVERSARIAL == ["bebygan", "bsrgan", "esrgan", "realesrgan", "srgan"]


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_second_phase_has_a_discriminator_for_its_patches(name: str, scale: int) -> None:
    """`srgan -x3` failed after its first phase: 72 is no multiple of 16."""
    found = recipes.find(name, scale)
    assert found.gan is not None
    side = found.patch * scale
    with torch.device("meta"):
        logits = discriminators.build(found.gan.discriminator, side, 3)(torch.rand(2, 3, side, side))
    assert len(logits) == 2


def test_what_a_second_phase_lacks_shows_before_the_first_step(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> Path:
        raise HubError("the Hub cannot be reached", "check the connection")

    monkeypatch.setattr(hub, "fetch_verified", refuse)
    setup = build_setup(photos, tmp_path / "run", "srgan", config=SMALL["srresnet"], patch=16)
    with pytest.raises(HubError, match="cannot be reached"):
        run_training(setup)
    assert not list(setup.folder.iterdir())


def test_a_rehearsal_changes_nothing(photos: Path, tmp_path: Path) -> None:
    gan = recipe.Gan(6, "l1=1,adversarial=0.01", discriminator="unet")
    setup = build_setup(photos, tmp_path / "run", "esrgan", gan=gan, config=SMALL["rrdbnet"], patch=16)
    begun = state.start(setup.recipe, CPU)
    before = {key: value.clone() for key, value in begun.network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    loop.rehearse(begun, setup)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert begun.discriminator is None
    for key, value in begun.network.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_second_phase_starts_from_averaged_weights_with_a_fresh_optimiser(
    photos: Path, tmp_path: Path
) -> None:
    gan = recipe.Gan(6, "l1=1,adversarial=0.01", discriminator="unet", learning_rate=3e-5)
    setup = build_setup(
        photos, tmp_path / "run", "esrgan", gan=gan, config=SMALL["rrdbnet"], patch=16, ema=0.9
    )
    begun = state.start(setup.recipe, CPU)
    work = loop.prepare(begun, setup)
    for _ in range(setup.recipe.steps):
        loop.take_step(begun, setup, work)
    key = next(iter(begun.network.state_dict()))
    assert not torch.equal(begun.network.state_dict()[key], begun.ema.state_dict()[key])
    assert begun.optimiser.state
    loop.prepare(begun, setup)
    assert torch.equal(begun.network.state_dict()[key], begun.ema.state_dict()[key])
    assert not begun.optimiser.state
    assert begun.discriminator is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ema=1.5", "ema cannot be 1.5"),
        ("ema=nan", "ema cannot be nan"),
        ("last_rate=-5", "last_rate cannot be -5"),
        ("beta2=2", "beta2 cannot be 2"),
        ("learning_rate=nan", "learning_rate cannot be nan"),
        ("learning_rate=0", "learning_rate cannot be 0"),
        ("steps=0", "cannot have 0 steps"),
        ("weight_decay=-1", "weight_decay cannot be -1"),
        ("decay_at=0.5,7", "decay_at cannot be 7"),
        ("rescale_factors=0", "rescale_factors cannot be 0"),
        ("rescale_factors=null", "rescale_factors cannot be None"),
        ("seed=-1", "seed cannot be -1"),
        ("seed=9223372036854775808", "seed cannot be"),
        ("clip=inf", "clip cannot be inf"),
        ("distil=-1", "distil cannot be -1"),
        ("gan.steps=0", "cannot have 0 steps"),
        ("gan.learning_rate=nan", "gan.learning_rate cannot be nan"),
        ("config.colour=1", "fsrcnn has no setting 'colour'"),
    ],
)
def test_numbers_that_a_field_cannot_have_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        recipe.apply_assignments(recipes.find("fsrcnn", 2), [text])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["optimiser=sgd", "beta2=0.9"], "beta2 has no effect with optimiser=sgd"),
        (["cycles=3", "schedule=step"], "cycles has no effect with schedule=step"),
        (["decay=0.1"], "decay has no effect with schedule=cosine"),
        (["distil=2"], "distil has no effect with no teacher"),
    ],
)
def test_fields_that_nothing_reads_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe.apply_assignments(recipes.find("imdn", 2), ["schedule=cosine", *texts])


_RCAN = {"steps": "1000000", "schedule": "x0.5 at 200000 400000 600000 800000"}
_SWINIR = {"steps": "500000", "rate": "0.0002", "schedule": "x0.5 at 250000 400000 450000 475000"}
# Our options that differ from the authors' on purpose; docs/recipes.md says why.
DEVIATIONS = {
    "mdsr": {"schedule": "x0.5 at 200000 400000 600000"},
    "han": {"loss": "l1", **_RCAN},
    "san": _RCAN,
    "csnln": {"schedule": _RCAN["schedule"]},
    "hat": _SWINIR,
    "dat": _SWINIR,
    "edt": {"schedule": _SWINIR["schedule"]},
}


@pytest.mark.parametrize("published", read_published().values(), ids=lambda published: published.recipe)
def test_a_recipe_has_the_options_that_its_authors_published(published: Published) -> None:
    ours = {name: mine for name, (mine, _) in find_differences(published).items()}
    assert ours == DEVIATIONS.get(published.recipe, {})


def test_weight_decay_and_averaged_weights_are_only_of_recipes_that_say_so() -> None:
    assert recipes.find("bebygan", 4).ema == recipes.find("vdsr", 4).ema == 0
    assert recipes.find("vdsr", 2).weight_decay == 1e-4


def test_rrdbs_weights_are_small_in_dense_blocks_only() -> None:
    """ESRGAN's initialisation. He's weights times 0.1 in all layers make features vanish."""
    torch.manual_seed(0)
    network = archs.build("rrdbnet", 4)
    made = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    dense = made["body.0.rdb1.conv3"].weight
    assert float(dense.detach().std()) == pytest.approx(0.1 * (2 / dense[0].numel()) ** 0.5, rel=0.05)
    other = made["conv_hr"].weight
    assert float(other.detach().std()) == pytest.approx((1 / 3 / other[0].numel()) ** 0.5, rel=0.05)


def measure_gain(network: nn.Module, batch: torch.Tensor) -> float:
    """Return the variance of the last features relative to that of the first."""
    first: list[float] = []
    last: list[float] = []

    def note(module: nn.Module, fed: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        if fed[0].ndim == out.ndim == 4 and min(fed[0].shape[1], out.shape[1]) > 4:
            last.append(float(fed[0].var()))
        if not first and out.ndim == 4 and out.shape[1] > 4:
            first.append(float(out.var()))

    for module in network.modules():
        if not list(module.children()) and not isinstance(module, nn.Identity):
            module.register_forward_hook(note)
    with torch.no_grad():
        network(batch)
    return last[-1] / first[0]


# Networks without a paper, and deep plain chains, whose signal nothing carries around the layers.
@pytest.mark.parametrize("arch", ["slimres", "superresnet", "maxim_sr", "srvgg", "ecbsr", "vdsr", "espcn"])
def test_the_signal_lives_through_an_untrained_network(arch: str, photos: Path) -> None:
    """A chain of twelve layers with PyTorch's own weights stood still for 600 steps."""
    pixels = read_image(photos / "coffee.png").pixels[:48, :48].transpose(2, 0, 1)
    for scale in archs.traits(arch).scales:
        torch.manual_seed(0)
        network = archs.build(arch, scale).eval()
        batch = torch.from_numpy(np.ascontiguousarray(pixels[: network.channels]))[None]
        assert 0.1 < measure_gain(network, batch) < 10, scale


def test_a_start_from_weights_says_how_many_tensors_fitted(photos: Path, tmp_path: Path, sr: Run) -> None:
    run = ("--data", photos, "--valid", photos, "--patch", 12, "--batch", 4, "--steps", 2)
    done = sr("train", "fsrcnn", "-x2", *run, "--out", tmp_path / "first")
    assert done.code == 0, done.err
    file = tmp_path / "first" / "fsrcnn-x2.safetensors"
    done = sr("train", "fsrcnn", "-x2", *run, "--out", tmp_path / "second", "--init", file)
    assert f"starts from {file}: all " in done.err
    wider = ("--set", "config.shrunk=8")
    done = sr("train", "fsrcnn", "-x2", *run, *wider, "--out", tmp_path / "third", "--init", file)
    assert done.code == 0, done.err
    assert "tensors; initialised: " in done.err
    begun = state.start(replace(recipes.find("fsrcnn", 2), init=str(file)), CPU)
    assert begun.warm_start is not None
    assert begun.warm_start.missing == ()
    assert begun.warm_start.taken == len(begun.network.state_dict())


# --- time ---


@pytest.mark.slow
def test_a_run_fits_into_the_time_it_is_given(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "run"
    done = sr("train", "fsrcnn", "-x2", "--data", photos, "--valid", photos, "--out", out, "--for", "8s")
    assert done.code == 0, done.err
    assert "the paper's recipe would take about" in done.err
    assert "(--preset paper)" in done.err
    header = json.loads(read_header(out / "fsrcnn-x2.safetensors")["recipe"])
    assert header["optimiser"] == "soap"
    steps = [json.loads(line)["step"] for line in (out / loop.LOG).read_text().splitlines()]
    assert len(steps) in range(1, 10)
    assert steps[-1] == header["steps"]


def test_a_validation_takes_as_many_pixels_as_the_time_allows(photos: Path, tmp_path: Path) -> None:
    setup = build_setup(photos, tmp_path, "fsrcnn", patch=12)
    begun = state.start(setup.recipe, CPU)
    picture = Picture(
        "p", np.zeros((403, 300, 3), np.float32), grey=False, lr=np.zeros((201, 150, 3), np.float32)
    )
    setup = replace(setup, pictures=[picture])

    def fit(seconds: float) -> int:
        clock = iter((0.0, 5.0, 5.0, 5.0 + 96 * 96 / 1e4))  # 0.1 ms a pixel
        return time_budget.fit_validation(begun, setup, seconds, lambda: next(clock))

    assert fit(3600.0) == 0
    assert fit(40.0) == 244  # 60,000 pixels
    assert fit(1.0) == 96
    (cut,) = time_budget.crop_pictures([picture], 2, 244)
    assert cut.pixels.shape == (244, 244, 3)
    assert cut.lr is not None
    assert cut.lr.shape == (122, 122, 3)
    asked = TrainRequest(("photos",), validation_side=244)
    runner.write_request(asked, tmp_path)
    assert runner.read_request(TrainRequest(resume=tmp_path)).validation_side == 244


@pytest.mark.parametrize("name", ["fsrcnn", "srgan"])
def test_steps_are_as_many_as_the_time_allows(name: str) -> None:
    made, speed = recipes.find(name, 4), time_budget.Speed(0.1, 0.3, 2.0)
    for seconds in (100.0, 3600.0):
        fitted = time_budget.fit(made, speed, seconds)
        assert 0.85 * seconds < time_budget.estimate(fitted, speed) <= seconds
        if made.gan and fitted.gan:
            assert fitted.gan.steps / fitted.all_steps == pytest.approx(1 / 6, abs=0.01)
    assert time_budget.fit(made, speed, 0.0).steps == 1
    assert time_budget.estimate_other(replace(made, batch=made.batch * 2), made, speed) == pytest.approx(
        2 * time_budget.estimate_other(made, made, speed)
    )


def test_a_validation_pair_of_the_wrong_size_is_named(photos: Path, tmp_path: Path, sr: Run) -> None:
    pixels = read_image(photos / "coffee.png").pixels
    write_image(tmp_path / "hr" / "a.png", Image(pixels[:64, :60]))
    write_image(tmp_path / "lr" / "a.png", Image(pixels[:20, :20]))
    pairs = f"{tmp_path}/hr,lr={tmp_path}/lr"
    done = sr("train", "fsrcnn", "-x2", "--data", photos, "--valid", pairs, "--out", tmp_path / "run")
    assert done.code == 1
    assert "lr/a.png is 20x20, but a of 60x64 at x2 needs 30x32" in done.err.replace("\n", "")


def run_by_clock(name: str, slowdown: Callable[[float], float]) -> tuple[Recipe, float, int]:
    """Return the plan of a run of 600 s, its end and its steps; steps take `slowdown` times longer."""
    now, speed = 0.0, time_budget.Speed(0.05, 0.15, 2.0)
    plan = recipe = time_budget.fit(recipes.find(name, 4), speed, 600.0)
    limit = time_budget.TimeLimit(plan, speed, 600.0, lambda: now)
    step = 0
    while step < recipe.all_steps:
        seconds = speed.first if step < recipe.steps else speed.second
        step += 1
        if step % recipe.validate_every == 0 or step in (recipe.steps, recipe.all_steps):
            seconds += speed.validation
        now += seconds * slowdown(now)
        if step < recipe.all_steps:
            recipe = limit.adapt(recipe, step)
    return plan, now, step


@pytest.mark.parametrize("name", ["fsrcnn", "srgan"])
def test_a_run_ends_in_time_although_the_machine_slows(name: str) -> None:
    plan, end, steps = run_by_clock(name, lambda now: 1.0)
    assert (steps, end) == (plan.all_steps, pytest.approx(570, rel=0.06))
    for factor in (2.0, 4.0):
        _, end, steps = run_by_clock(name, lambda now, factor=factor: factor if now > 1 else 1.0)
        assert 0.8 * 600 < end < 1.1 * 600
        assert steps == pytest.approx(plan.all_steps / factor, rel=0.2)
    _, end, steps = run_by_clock(name, lambda now: 5.0 if 100 < now < 160 else 1.0)  # a hiccup
    assert 0.8 * 600 < end < 1.1 * 600
    assert steps > 0.75 * plan.all_steps


def test_the_default_preset_is_for_the_device() -> None:
    request = TrainRequest(("photos",), "edsr", 2)
    assert runner.choose_recipe(request, on_gpu=True) == recipes.find("edsr", 2)
    assert runner.choose_recipe(request) == recipes.quick(recipes.find("edsr", 2))
    assert runner.choose_recipe(replace(request, preset="paper")) == recipes.find("edsr", 2)
    tuning = TrainRequest(("photos",), start_from="photo-lite-x4")
    assert runner.choose_recipe(tuning) == runner.choose_recipe(replace(tuning, preset="quick"))


def test_quick_runs_are_in_bfloat16_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_fast, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda fast=is_fast: {"amx_bf16": fast})
        for name in ("edsr", "slimres"):
            quick = recipes.preset(name, 2, "quick")
            assert recipes.settle_precision(quick, CPU).precision == expected
        assert recipes.settle_precision(recipes.preset("swinir", 2, "quick"), CPU).precision == "float32"
        assert recipes.settle_precision(recipes.find("edsr", 2), CPU).precision == "float32"


def test_a_long_stage_without_a_bar_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_reporter, "_SILENCE", 0.06)
    said, deadline = "", time.monotonic() + 20
    with TrainReporter() as reporter:
        reporter(events.Preparing("timing a few steps"))
        while "still" not in said and time.monotonic() < deadline:
            time.sleep(0.02)
            said += capsys.readouterr().err
    assert said.splitlines()[:2] == ["timing a few steps ...", "still timing a few steps ..."]


def test_a_recipe_is_shown_as_it_is_set() -> None:
    shown = {"patch": 24, "decay_at": (0.5, 0.9), "config": {"blocks": 2}, "gan": {"loss": "l1=1"}}
    assert format_fields(shown) == "patch=24  decay_at=0.5,0.9  config.blocks=2  gan.loss=l1=1"
    assert (format_speed(2.0), format_speed(0.04)) == ("2.0 steps/s", "25.0 s/step")


# --- fine-tuning ---


def test_fine_tuning_keeps_what_the_weights_are_for() -> None:
    """Networks for photographs were trained by plain L1 on bicubic, which undid them."""
    tuned = runner.choose_recipe(TrainRequest(("photos",), start_from="photo-lite-x4"), on_gpu=True)
    own = recipes.find("photo-lite", 4)
    assert (tuned.title, tuned.loss, tuned.degrade) == ("photo-lite", own.loss, "photo")
    assert tuned.steps == 20_000
    assert tuned.config["features"] == 32
    quick = runner.choose_recipe(TrainRequest(("photos",), start_from="photo-lite-x4", preset="quick"))
    assert (quick.steps, quick.degrade) == (500, "photo")


def test_fine_tuning_of_an_adversarial_network_stays_adversarial() -> None:
    base, spec = recipes.find("realesrgan", 4), archs.Spec("rrdbnet", 4)
    tuned = recipe.check_recipe(recipes.fine_tuning(base, spec, "x.pth"))
    assert recipe.phase_at(tuned, 0).discriminator == "unet"
    assert (tuned.degrade, tuned.all_steps) == ("second-order", 20_000)
    assert "content" in recipe.phase_at(tuned, 0).loss
    quick = recipe.check_recipe(recipes.fine_tuning(base, spec, "x.pth", "quick"))
    assert "content" not in recipe.phase_at(quick, 0).loss
    like = recipes.find_for_weights("remacri", "rrdbnet", 4, real_world=True)
    assert (like.title, like.degrade) == ("remacri", "second-order")


def test_quick_fine_tuning_warns_that_it_lacks_features(capsys: pytest.CaptureFixture[str]) -> None:
    spec = archs.Spec("rrdbnet", 4, {})
    for kind in ("paper", "quick"):
        chosen = recipes.fine_tuning(recipes.find("realesrgan", 4), spec, "w.safetensors", kind)
        TrainReporter()(events.Started(chosen, "cpu", Path("runs"), 0, restarted=False))
        assert ("results become softer" in capsys.readouterr().err) is (kind == "quick")


def test_fine_tuning_takes_the_recipe_in_the_files_header(photos: Path, tmp_path: Path) -> None:
    setup = build_setup(photos, tmp_path / "run", steps=6, degrade="blur,sigma=1.6", loss="charbonnier")
    run_training(setup)
    path = loop.weights_path(setup.folder, setup.recipe)
    tuned = runner.choose_recipe(TrainRequest(("photos",), scale=2, start_from=str(path)))
    assert (tuned.degrade, tuned.loss, tuned.init) == ("blur,sigma=1.6", "charbonnier", str(path))


# --- what a newcomer sees ---


def test_a_run_is_resumed_by_its_folder_alone(photos: Path, tmp_path: Path, sr: Run) -> None:
    out = tmp_path / "run"
    small = ("--patch", 12, "--batch", 4, "--steps", 2)
    assert sr("train", "fsrcnn", "-x2", "--data", photos, "--valid", photos, "--out", out, *small).code == 0
    done = sr("train", "--resume", out, "--steps", 4)
    assert done.code == 0, done.err
    assert torch.load(out / state.STATE, weights_only=True)["step"] == 4
    (out / "request.json").write_text("{]")
    assert "request.json is damaged" in sr("train", "--resume", out).err


def test_unusable_images_are_named_with_their_reasons(photos: Path, tmp_path: Path, sr: Run) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    write_image(folder / "small.png", Image(np.zeros((20, 30, 3), np.float32)))
    done = sr("train", "fsrcnn", "-x2", "--data", folder, "--out", tmp_path / "run", "--patch", 24)
    assert done.code == 1
    assert "small.png has 30x20 px, less than a patch of 48x48" in done.err
    assert "broken.png" in done.err


def test_a_crop_to_fit_a_partner_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in (("astronaut", 96), ("chelsea", 95), ("coffee", 96)):
        pixels = read_image(photos / f"{name}.png").pixels[:rows]
        write_image(photos / f"{name}.png", Image(pixels))
        low = downscale_bicubic(crop_to_multiple(pixels, 2), 2)
        write_image(tmp_path / "low" / f"{name}x2.png", Image(low))
    chosen = replace(recipes.find("fsrcnn", 2), patch=12)
    request = TrainRequest((f"{photos},lr={tmp_path / 'low'}",), "fsrcnn", 2)
    runner.open_draw(request, chosen, state.start(chosen, CPU), CPU, TrainReporter())
    assert "0 left out, 1 cropped to fit their low-resolution partners" in " ".join(
        capsys.readouterr().err.split()
    )


def test_samples_show_the_input_that_validation_sees(photos: Path, tmp_path: Path) -> None:
    told: list[events.Event] = []
    changes = {"patch": 12, "batch": 4, "steps": 2, "degrade": "blur,sigma=4"}
    request = TrainRequest(
        (str(photos),), "fsrcnn", 2, validation=photos, output=tmp_path / "run", changes=changes, device="cpu"
    )
    runner.run(request, told.append)
    (seen,) = (event for event in told if isinstance(event, events.Validated))
    sharp = downscale_bicubic(crop_to_multiple(seen.outputs["truth"], 2), 2)
    assert psnr(seen.low, sharp) < 35
    assert seen.low.shape == sharp.shape


def test_validation_uses_the_partners_that_are_given(photos: Path, tmp_path: Path) -> None:
    """Black partners: bicubic of them is black, whatever the images show."""
    low = tmp_path / "low"
    low.mkdir()
    for path in photos.glob("*.png"):
        width, height = read_info(path).size
        black = Image(np.zeros((height // 2, width // 2, 3), np.float32))
        write_image(low / f"{path.stem}x2.png", black)
    changes = {"patch": 12, "batch": 4, "steps": 2}
    request = TrainRequest(
        (str(photos),), "fsrcnn", 2, validation=f"{photos},lr={low}", output=tmp_path / "run", changes=changes
    )
    summary = runner.run(replace(request, device="cpu"))
    plain = runner.run(replace(request, validation=photos, output=tmp_path / "plain", device="cpu"))
    assert summary.bicubic < 12 < plain.bicubic


def test_durations_are_told_as_people_say_them() -> None:
    told = [format_duration(seconds) for seconds in (0.2, 45, 480, 5400, 83 * 3600, 40 * 86400)]
    assert told == ["1 s", "45 s", "8 min", "2 h", "83 h", "40 days"]
