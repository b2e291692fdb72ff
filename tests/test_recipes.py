"""Recipes: fields that are checked, phases that are tried before they begin, starts that keep the signal."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.command import Run
from helpers.networks import CPU, SMALL
from helpers.training import build_setup, run_training
from srcli import archs
from srcli.engine.weights import hub
from srcli.engine.weights.hub import HubError
from srcli.errors import UsageError
from srcli.train import discriminators, loop, recipe, recipes, state

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


def test_averaged_weights_are_only_of_recipes_that_say_so() -> None:
    assert recipes.find("edsr", 4).ema == recipes.find("vdsr", 4).ema == 0
    assert recipes.find("hat", 4).ema == recipes.find("realesrgan", 4).ema == 0.999
    assert recipes.find("vdsr", 2).weight_decay == recipes.find("lapsrn", 2).weight_decay == 1e-4
    assert recipes.find("swinir", 2).beta2 == 0.999


def test_rrdbs_weights_are_small_in_dense_blocks_only() -> None:
    """ESRGAN's initialisation. He's weights times 0.1 in all layers make features vanish."""
    torch.manual_seed(0)
    network = archs.build("rrdbnet", 4)
    made = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    dense = made["body.0.rdb1.conv3"].weight
    assert float(dense.detach().std()) == pytest.approx(0.1 * (2 / dense[0].numel()) ** 0.5, rel=0.05)
    other = made["conv_hr"].weight
    assert float(other.detach().std()) == pytest.approx((1 / 3 / other[0].numel()) ** 0.5, rel=0.05)


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
