"""The training loop: steps, averaged weights, validation, checkpoints; it can stop and go on anywhere."""

import copy
import json
import math
import pickle
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli import archs
from srcli.bench import Row, evaluate
from srcli.datasets import Picture
from srcli.engine import weights
from srcli.engine.device import Device
from srcli.errors import SrError, UsageError, WeightsError
from srcli.files import check_place, replacing
from srcli.methods import Options, network_method, upscaler
from srcli.train.data import Store, draw
from srcli.train.recipes import Recipe, changed

STATE = "state.pt"
LOG = "log.jsonl"
# A checkpoint at least this often, in seconds, so that a crash costs minutes.
SAVE_EVERY = 120.0


@dataclass(frozen=True)
class Progress:
    """What is known after a step; `psnr_y` is the newest validation's, None before the first."""

    step: int
    steps: int
    loss: float
    psnr_y: float | None
    steps_per_second: float


@dataclass
class State:
    """All that a step changes; what is saved is enough to go on exactly."""

    network: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    step: int = 0
    best: float = -math.inf


@dataclass(frozen=True)
class Setup:
    """What a run is given: how to train, where, on what, and what to validate with."""

    recipe: Recipe
    device: Device
    folder: Path
    store: Store
    pictures: list[Picture]


def check_new(folder: Path) -> None:
    """Raise `SrError` where a new run can't be put into `folder`; nothing is made yet."""
    if (folder / STATE).exists():
        raise UsageError(f"{folder} holds a run already", "go on with --resume, or choose another --out")
    check_place(folder / STATE)


def start(recipe: Recipe, device: Device) -> State:
    """A fresh state, warm-started with the tensors of `recipe.init` that fit by name and shape."""
    torch.manual_seed(recipe.seed)
    network = archs.build(recipe.arch, recipe.scale, recipe.config)
    if recipe.init:
        _warm_start(network, recipe.arch, Path(recipe.init))
    network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99))
    return State(network, copy.deepcopy(network), optimiser, np.random.default_rng(recipe.seed))


def _warm_start(network: nn.Module, arch: str, path: Path) -> None:
    own = network.state_dict()
    given = archs.rename(arch, weights.read_state(path))
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise WeightsError(f"{path} has no tensor that fits {arch}", "give weights of the same network")
    network.load_state_dict({**own, **fitting})


def save_state(folder: Path, state: State, recipe: Recipe) -> None:
    """Write `state.pt`, from which `resume` goes on."""
    saved = {
        "recipe": asdict(recipe),
        "network": state.network.state_dict(),
        "ema": state.ema.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "rng": json.dumps(state.rng.bit_generator.state),
        "step": state.step,
        "best": state.best,
    }
    with replacing(folder / STATE) as temporary:
        torch.save(saved, temporary)


def resume(folder: Path, device: Device, changes: dict[str, Any]) -> tuple[State, Recipe]:
    """The state and the recipe that `save_state` left, with the recipe's `changes` applied.

    Raises `WeightsError` where there are none.
    """
    path = folder / STATE
    if not path.exists():
        raise WeightsError(f"nothing to resume in {folder}", "give the --out folder of an earlier run")
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device.name, weights_only=True)
        recipe = changed(Recipe(**saved["recipe"]), changes)
        return _restored(saved, start(replace(recipe, init=""), device)), recipe
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, KeyError, TypeError) as error:
        hint = "network and scale must be those of the run; else start anew in another --out"
        raise WeightsError(f"{path} does not fit this run: {str(error).splitlines()[0]}", hint) from error


def _restored(saved: dict[str, Any], state: State) -> State:
    state.network.load_state_dict(saved["network"])
    state.ema.load_state_dict(saved["ema"])
    state.optimiser.load_state_dict(saved["optimiser"])
    state.rng.bit_generator.state = json.loads(saved["rng"])
    return replace(state, step=saved["step"], best=saved["best"])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine from the peak to a hundredth of it at the last step."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": nn.functional.l1_loss,
    "l2": nn.functional.mse_loss,
}


def take_step(state: State, setup: Setup) -> float:
    """One optimiser step on one random batch; the loss.

    Raises `SrError`, with the state as it was, where the loss or its gradient is not finite.
    """
    recipe, device = setup.recipe, setup.device.name
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, state.step)
    channels = int(state.network.channels)  # type: ignore[arg-type]
    lr, hr = draw(setup.store, recipe.patch, recipe.batch, channels, state.rng)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        out = state.network(lr.to(device, memory_format=torch.channels_last))
    loss = LOSSES[recipe.loss](out.float(), hr.to(device))
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip)
    value = float(loss.detach())
    if not (math.isfinite(value) and math.isfinite(float(norm))):
        hint = "--resume with a smaller --learning-rate"
        raise SrError(f"the {recipe.loss} loss or its gradient is not finite at step {state.step}", hint)
    state.optimiser.step()
    state.step += 1
    _average(state, recipe)
    return value


@torch.no_grad()
def _average(state: State, recipe: Recipe) -> None:
    """Move the averaged weights; early on they follow faster, so that they are never the random start."""
    decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
    for average, current in zip(state.ema.parameters(), state.network.parameters(), strict=True):
        average.lerp_(current, 1 - decay)
    for kept, new in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        kept.copy_(new)


def validate(state: State, setup: Setup) -> Row:
    """The averaged weights scored by the same code as `sr bench`."""
    network, spec = deployed(state, setup.recipe)
    step = upscaler(copy.deepcopy(network), spec, Options(device=setup.device.name))
    return evaluate(network_method(setup.recipe.arch, [step]), setup.pictures, setup.recipe.scale)


def run(state: State, setup: Setup) -> Generator[Progress]:
    """Train to the recipe's last step, yielding after each; leaves `state.pt`, weights and a log.

    Closing the generator, or an error, saves the state first, so that `resume` loses nothing.
    """
    recipe = setup.recipe
    setup.folder.mkdir(parents=True, exist_ok=True)
    began = saved = time.monotonic()
    first, losses, psnr_y = state.step, [0.0], None
    try:
        while state.step < recipe.steps:
            losses.append(take_step(state, setup))
            if state.step % recipe.validate_every == 0 or state.step == recipe.steps:
                psnr_y = checkpoint(state, setup, float(np.mean(losses[1:])))
                losses = losses[-1:]
            if time.monotonic() - saved > SAVE_EVERY:
                save_state(setup.folder, state, recipe)
                saved = time.monotonic()
            speed = (state.step - first) / (time.monotonic() - began)
            yield Progress(state.step, recipe.steps, losses[-1], psnr_y, speed)
    finally:
        save_state(setup.folder, state, recipe)


def checkpoint(state: State, setup: Setup, loss: float) -> float:
    """Validate, append to the log, and keep the weights if they are the best so far; PSNR-Y in dB."""
    row = validate(state, setup)
    entry = {"step": state.step, "loss": loss, "psnr_y": row.psnr_y, "ssim_y": row.ssim_y}
    with (setup.folder / LOG).open("a") as log:
        log.write(json.dumps(entry) + "\n")
    if row.psnr_y > state.best:
        state.best = row.psnr_y
        save_weights(state, setup)
    return row.psnr_y


def save_weights(state: State, setup: Setup) -> None:
    """Write the averaged weights as the file that upscale, bench and compare take."""
    recipe = json.dumps(asdict(setup.recipe))
    notes = {"recipe": recipe, "step": str(state.step), "psnr_y": f"{state.best:.4f}"}
    weights.save(weights_path(setup.folder, setup.recipe), *deployed(state, setup.recipe), notes)


def deployed(state: State, recipe: Recipe) -> tuple[nn.Module, archs.Spec]:
    """The averaged network without what only training needs, and what it is."""
    network, config = archs.deployed(recipe.arch, recipe.scale, recipe.config, state.ema)
    return network, archs.Spec(recipe.arch, recipe.scale, config)


def weights_path(folder: Path, recipe: Recipe) -> Path:
    """Where a run leaves its best weights."""
    return folder / f"{recipe.arch}-x{recipe.scale}.safetensors"
