"""The state of a training run: all that is saved, so that it can resume bit for bit."""

import copy
import io
import math
import os
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from srcli import archs
from srcli.engine.device import Device
from srcli.engine.weights import files
from srcli.errors import WeightsError
from srcli.storage.files import replace_atomically
from srcli.train import discriminators
from srcli.train.events import WarmStart
from srcli.train.initial import initialise, parse
from srcli.train.recipe import Phase, Recipe, apply_assignments, apply_changes, from_dict, second_phase
from srcli.train.soap import Soap

STATE = "state.pt"


@dataclass
class State:
    """Everything that a step changes, and where it started from.

    `rate` multiplies every learning rate; each of the `nonfinite_retries` after a NaN or infinite loss halves
    it.
    """

    network: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    best: float = -math.inf
    rate: float = 1.0
    nonfinite_retries: int = 0
    discriminator: nn.Module | None = None
    discriminator_optimiser: torch.optim.Optimizer | None = None
    warm_start: WarmStart | None = None


def start(recipe: Recipe, device: Device) -> State:
    """Create a state, warm-started with the tensors of `recipe.init` that fit by name and shape."""
    torch.manual_seed(recipe.seed)
    network = archs.build(recipe.arch, recipe.scale, recipe.config)
    initialise(network, parse(recipe.initial))
    warm_start = _load_initial(network, recipe.arch, Path(recipe.init)) if recipe.init else None
    network.to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(network, copy.deepcopy(network), optimiser(network, recipe), warm_start=warm_start)


def optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimiser; each parameter group holds its `share` of the learning rate."""
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    last = _last_layer(network) if recipe.last_rate != 1 else set()
    groups = [{"params": [weight for weight in learned if weight not in last], "share": 1.0}]
    if last:
        groups.append({"params": [weight for weight in learned if weight in last], "share": recipe.last_rate})
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, weight_decay=decay)
    if recipe.optimiser == "soap":
        return Soap(groups, rate, betas=(0.95, recipe.beta2), weight_decay=decay)
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, rate, betas=(0.9, recipe.beta2), weight_decay=decay, fused=True)


def _last_layer(network: nn.Module) -> set[Tensor]:
    """Return the weights of the last convolution."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return set(layers[-1].parameters())


def _load_initial(network: nn.Module, arch: str, path: Path) -> WarmStart:
    own = network.state_dict()
    given = archs.rename(arch, files.read_state(path))
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise WeightsError(f"{path} has no tensor that fits {arch}", "use weights of the same network")
    network.load_state_dict({**own, **fitting})
    return WarmStart(path, len(fitting), tuple(name for name in own if name not in fitting))


def begin_phase(state: State, recipe: Recipe, phase: Phase, device: Device) -> None:
    """Prepare the state for a phase against a discriminator, unless it is in that phase already.

    As in the papers, that phase starts from the averaged weights, with a fresh optimiser.
    """
    if not phase.discriminator or state.discriminator is not None:
        return
    if recipe.ema > 0:
        state.network.load_state_dict(state.ema.state_dict())
    state.optimiser = optimiser(state.network, replace(recipe, learning_rate=phase.learning_rate))
    _add_discriminator(state, recipe, phase, device)


def _add_discriminator(
    state: State, recipe: Recipe, phase: Phase, device: Device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Add the phase's discriminator and its optimiser to the state, and return them."""
    torch.manual_seed(recipe.seed + 1)
    discriminator = build_discriminator(recipe, phase, state.network).to(device.name)
    rates = replace(recipe, optimiser="adam", learning_rate=phase.learning_rate, last_rate=1.0)
    state.discriminator, state.discriminator_optimiser = discriminator, optimiser(discriminator, rates)
    return discriminator, state.discriminator_optimiser


def build_discriminator(recipe: Recipe, phase: Phase, network: nn.Module) -> nn.Module:
    """Build the phase's discriminator for the patches that `network` returns."""
    side = recipe.patch * (1 if archs.traits(recipe.arch).pre_upsampled else recipe.scale)
    return discriminators.build(phase.discriminator, side, int(network.channels))  # type: ignore[arg-type]


def save(folder: Path, state: State, recipe: Recipe) -> None:
    """Write `state.pt` for `resume`; a failure leaves the older file unchanged."""
    saved = {
        "recipe": asdict(recipe),
        "network": state.network.state_dict(),
        "ema": state.ema.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        **{name: getattr(state, name) for name in _NUMBERS},
        "run": run_id(),
    }
    if state.discriminator is not None and state.discriminator_optimiser is not None:
        saved["discriminator"] = state.discriminator.state_dict()
        saved["discriminator_optimiser"] = state.discriminator_optimiser.state_dict()
    # Torch's own writer ends in several exceptions on a full disk.
    data = io.BytesIO()
    torch.save(saved, data)
    with replace_atomically(folder / STATE) as temporary:
        temporary.write_bytes(data.getbuffer())


# Entries by the names that they had in the first runs, which can still be resumed.
FORMER_NAMES = {
    "critic": "discriminator",
    "critic_optimiser": "discriminator_optimiser",
    "strikes": "nonfinite_retries",
}
_NUMBERS = ("step", "best", "rate", "nonfinite_retries")


def run_id() -> str:
    """Return torchrun's name for this run, which survives a restart; "" without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def is_this_run(folder: Path) -> bool:
    """Return whether the state in a folder is from an earlier start of the same torchrun run."""
    if not run_id() or not (folder / STATE).exists():
        return False
    try:
        saved = torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)
    except _UNREADABLE:
        return False
    return isinstance(saved, dict) and bool(saved.get("run") == run_id())


_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError,
    AttributeError,
)  # fmt: skip
_LONGEST_REASON = 200  # characters


def find_saved(folder: Path) -> Path:
    """Return the path of a run's state. Raises `WeightsError` if the folder has none."""
    path = folder / STATE
    if not path.exists():
        raise WeightsError(f"nothing to resume in {folder}", "give the --out folder of an earlier run")
    return path


def resume(
    folder: Path, device: Device, changes: dict[str, Any], assignments: Sequence[str] = ()
) -> tuple[State, Recipe]:
    """Load the state and the recipe of `save`, with the recipe's `changes` and `assignments` applied.

    Raises `WeightsError` if there are none.
    """
    path = find_saved(folder)
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device.name, weights_only=True)
        recipe = apply_assignments(apply_changes(from_dict(saved["recipe"]), changes), assignments)
        state = start(replace(recipe, init=""), device)
        _check_numbers(saved)
        restore(state, saved, recipe, device)
    except _UNREADABLE as error:
        hint = "use the network and scale of that run, or start a new one in another --out"
        reason = (str(error) or type(error).__name__).splitlines()[0][:_LONGEST_REASON]
        raise WeightsError(f"{path} does not fit this run: {reason}", hint) from error
    return state, recipe


def _check_numbers(saved: dict[str, Any]) -> None:
    """Raise `ValueError` for numbers that no run can have saved; the table itself may be of any type."""
    step, rate, best = saved["step"], saved.get("rate", 1.0), saved.get("best", 0.0)
    if type(step) is not int or step < 0:
        raise ValueError(f"a step of {step}")
    if not isinstance(rate, float) or not 0 < rate <= 1:
        raise ValueError(f"a rate of {rate}")
    if not isinstance(best, float | int) or math.isnan(best):
        raise ValueError(f"a best score of {best}")


def restore(state: State, saved: dict[str, Any], recipe: Recipe, device: Device) -> None:
    """Put what `save` wrote into a state of the same recipe."""
    saved = {FORMER_NAMES.get(name, name): value for name, value in saved.items()}
    state.network.load_state_dict(saved["network"])
    state.ema.load_state_dict(saved["ema"])
    state.optimiser.load_state_dict(saved["optimiser"])
    for name in _NUMBERS:
        setattr(state, name, saved.get(name, getattr(state, name)))
    state.discriminator = state.discriminator_optimiser = None
    if "discriminator" in saved and recipe.gan:
        discriminator, its_optimiser = _add_discriminator(
            state, recipe, second_phase(recipe.gan, recipe.steps), device
        )
        discriminator.load_state_dict(saved["discriminator"])
        its_optimiser.load_state_dict(saved["discriminator_optimiser"])


@torch.no_grad()
def update_ema(state: State, decay: float) -> None:
    """Move the averaged weights; early on they follow faster, so that they are never the random start."""
    share = 1 - min(decay, (1 + state.step) / (10 + state.step))
    pairs = list(zip(state.ema.parameters(), state.network.parameters(), strict=True))
    averages: list[Tensor] = [a.data for a, _ in pairs]
    move = get_ema_multi_avg_fn(1 - share)  # type: ignore[no-untyped-call]
    move(averages, [b.data for _, b in pairs], torch.tensor(state.step))
    for kept, new in zip(state.ema.buffers(), state.network.buffers(), strict=True):
        kept.copy_(new)
