"""The training loop: steps, averaged weights, validation, checkpoints; it can stop and resume anywhere."""

import copy
import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srcli import archs
from srcli.bench import Row, evaluate
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.datasets import Picture
from srcli.engine.device import Device, check_bfloat16
from srcli.engine.weights import files
from srcli.errors import SrError, UsageError
from srcli.methods import Interpolator, Method, MethodOptions, build_upscaler, chain_networks
from srcli.storage.files import check_can_write, replace_atomically
from srcli.storage.json_text import parse_json
from srcli.train import losses, parallel, schedule
from srcli.train.augment import Batch
from srcli.train.batches import Draw, ScaledBatch, iterate_batches
from srcli.train.compiled import Forward, build_forward
from srcli.train.degrade import resize, round_to_levels
from srcli.train.events import StepDone
from srcli.train.recipe import Phase, Recipe, phase_at, second_phase
from srcli.train.state import STATE, State, begin_phase, build_discriminator, restore, save, update_ema
from srcli.train.teacher import Teacher, find_own_network, imitation_loss, load_teacher, replace_target

LOG = "log.jsonl"
# Seconds between checkpoints, besides those at validations: a crash costs minutes at most.
SAVE_EVERY = 120.0
# The learning rate is halved this many times after a non-finite loss; then the run stops.
MAX_NONFINITE_RETRIES = 3


@dataclass(frozen=True)
class Setup:
    """The inputs of a run: recipe, device, output folder, batches, and the images to validate with.

    `bicubic`: the PSNR-Y of bicubic upscaling on these images. `read_every`: the steps after which losses are
    read and checked: reading them makes the processor wait for a GPU. `workers`: processes that degrade
    batches; 0: a thread. `adapt`: what fits the recipe to the time left after a step.
    """

    recipe: Recipe
    device: Device
    folder: Path
    draw: Draw
    pictures: list[Picture]
    log: Callable[[int, dict[str, float]], None] = lambda step, figures: None
    bicubic: float = math.nan
    read_every: int = 1
    workers: int = 0
    adapt: Callable[[Recipe, int], Recipe] = lambda recipe, step: recipe

    @property
    def reduction(self) -> Reduction:
        """The way validation images are downscaled: as in training."""
        degrade = self.recipe.degrade
        return Reduction(Y_CROP.protocol, "" if degrade == "bicubic" else degrade)


@dataclass(frozen=True)
class Step:
    """A step that was taken: its number, the terms of its loss, and the norm of the gradient, unread."""

    number: int
    terms: dict[str, Tensor]
    norm: Tensor


@dataclass
class Meter:
    """Times of a run, the terms since the last validation, and the `pending` steps, which are unread."""

    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    pending: list[Step] = field(default_factory=list)
    terms: list[dict[str, float]] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)

    def read(self) -> None:
        """Read the pending steps in one transfer. Raises `NotFiniteError` if one is not finite."""
        if not self.pending:
            return
        values = [value for step in self.pending for value in (*step.terms.values(), step.norm)]
        numbers = iter(torch.stack([value.float() for value in values]).tolist())
        for step in self.pending:
            figures = {label: next(numbers) for label in step.terms}
            _check_finite(figures, next(numbers), step.number)
            self.last = figures
            self.terms.append(figures)
        self.pending.clear()

    def mean(self) -> dict[str, float]:
        """Return the mean of each term since the last call."""
        labels = dict.fromkeys(label for terms in self.terms for label in terms)
        found = {
            label: float(np.mean([terms[label] for terms in self.terms if label in terms]))
            for label in labels
        }
        self.terms.clear()
        return found


class NotFiniteError(SrError):
    """A loss or a gradient is NaN or infinite; the state is as it was before the step."""


def check_new(folder: Path) -> None:
    """Raise `SrError` if a new run cannot be put into `folder`; nothing is written yet."""
    if (folder / STATE).exists():
        raise UsageError(
            f"{folder} already holds a run", "continue it with --resume, or choose another --out"
        )
    check_can_write(folder / STATE)


@dataclass(frozen=True)
class Work:
    """A phase, prepared to continue from the state's step.

    `forward`: the network, compiled or not; `objective`: the loss; `teacher`: the network to imitate, for
    distillation.
    """

    phase: Phase
    forward: Forward
    objective: losses.Objective
    batches: Iterator[ScaledBatch]
    teacher: Teacher | None = None


def prepare(state: State, setup: Setup) -> Work:
    """Prepare the phase of the state's step. Raises `SrError` if features or teacher are unavailable."""
    recipe = setup.recipe
    if recipe.precision == "bfloat16":
        check_bfloat16(setup.device)
    if any(recipe.deep_supervision) and not hasattr(state.network, "intermediate_outputs"):
        raise UsageError(
            f"{recipe.arch} has no intermediate outputs to supervise", "leave deep_supervision at 0,0"
        )
    if recipe.downscale_weight and not hasattr(state.network, "downscale"):
        raise UsageError(f"{recipe.arch} does not downscale images", "leave downscale_weight at 0")
    phase = phase_at(recipe, state.step)
    begin_phase(state, recipe, phase, setup.device)
    objective = losses.build(losses.parse(phase.loss), setup.device.name, state.discriminator, phase.regions)
    return Work(
        phase,
        build_forward(state.network, setup.device.name, recipe.compile),
        objective,
        iterate_batches(recipe, setup.draw, state.step, state.nonfinite_retries, setup.workers),
        _load_teacher(recipe, setup.device) if recipe.teacher and not recipe.pairs else None,
    )


def _load_teacher(recipe: Recipe, device: Device) -> Teacher:
    """Load the teacher that runs at each step."""
    path = find_own_network(recipe.teacher, recipe.scale)
    if path is None:
        reason = f"the teacher {recipe.teacher} cannot run at each step"
        raise UsageError(reason, "say how many outputs to make before training: --set pairs=256")
    return load_teacher(path, recipe.scale, device)


def rehearse(state: State, setup: Setup) -> None:
    """Compute the losses of a second phase to come on one patch: what it lacks shows now, not after days.

    Raises `SrError` if its features are unavailable, or if its discriminator does not take the patches.
    """
    recipe = setup.recipe
    if recipe.gan is None or state.step >= recipe.steps:
        return
    with torch.random.fork_rng(), torch.no_grad():
        phase, device = second_phase(recipe.gan, recipe.steps), setup.device.name
        discriminator = build_discriminator(recipe, phase, state.network).to(device)
        objective = losses.build(losses.parse(phase.loss), device, discriminator, phase.regions)
        _, batch = next(iterate_batches(replace(recipe, batch=1), setup.draw, recipe.steps, 0))
        hr = batch.hr.to(device)  # it also stands in for the output, which may take seconds to compute
        images = losses.Images(hr, hr, batch.lr.to(device))
        objective(images)
        objective.discriminator_loss(images)


def take_step(state: State, setup: Setup, work: Work, meter: Meter | None = None) -> Step:
    """Take an optimiser step, on one batch or several with added gradients; return the terms of the loss.

    Raises `NotFiniteError`, with the weights as they were, if the loss or its gradient is not finite; unless
    losses are read later, by `Meter.read`.
    """
    recipe, meter = setup.recipe, meter or Meter()
    rate = state.rate * schedule.learning_rate(recipe, work.phase, state.step)
    state.network.train()
    state.optimiser.zero_grad(set_to_none=True)
    shares = []
    for _ in range(recipe.accumulate):
        images, fed, earlier = _forward(state, setup, work, meter)
        terms = work.objective(images) | _supervision(state, work, recipe, images, earlier)
        terms |= _imitation(recipe, images) | _reduction(recipe, images, fed)
        loss = losses.total(terms) / recipe.accumulate
        loss.backward()  # type: ignore[no-untyped-call]
        shares.append({label: value.detach() for label, value in terms.items()})
    parallel.average_gradients(state.network)
    norm = schedule.clip(state.network, recipe, rate)
    terms = {label: torch.stack([share[label] for share in shares]).mean() for label in shares[0]}
    checks = setup.read_every == 1
    if checks:
        _check_finite({label: float(value) for label, value in terms.items()}, float(norm), state.step)
    _step(state.optimiser, rate)
    if work.phase.discriminator:
        terms |= _train_discriminator(state, work, images, rate, checks=checks)
    taken = Step(state.step, terms, norm)
    state.step += 1
    update_ema(state, recipe.ema)
    return taken


def _forward(
    state: State, setup: Setup, work: Work, meter: Meter
) -> tuple[losses.Images, Tensor, list[Tensor]]:
    """Put the next batch through network and teacher: images, input, and intermediate outputs."""
    recipe, device = setup.recipe, setup.device.name
    begun = time.monotonic()
    scale, batch = next(work.batches)
    meter.waited += time.monotonic() - begun
    if recipe.scales:
        state.network.scale = scale  # type: ignore[assignment]
    if torch.device(device).type == "cuda" and batch.hr.device.type == "cpu":
        batch = batch.pin_memory()
    fed = _network_input(state, recipe, batch).to(
        device, memory_format=torch.channels_last, non_blocking=True
    )
    window = () if batch.window is None else (batch.window,)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        if any(recipe.deep_supervision):
            *earlier, sr = state.network.intermediate_outputs(fed)  # type: ignore[operator]
        else:
            earlier, sr = [], work.forward(fed, *window)
    shown = None if batch.teacher is None else batch.teacher.to(device, non_blocking=True)
    hr, lr = (images.to(device, non_blocking=True) for images in (batch.hr, batch.lr))
    images = losses.Images(sr.float(), hr, lr, shown)
    if work.teacher:
        images = replace(images, teacher=work.teacher.upscale(images, fed))
    return replace_target(images, recipe.target or "truth"), fed, earlier


def _network_input(state: State, recipe: Recipe, batch: Batch) -> Tensor:
    """Return the network's input: from the batch, or downscaled from the targets by the network itself."""
    if not recipe.downscale_weight:
        return batch.fed
    place = next(state.network.parameters()).device
    return round_to_levels(state.network.downscale(batch.hr.to(place), batch.lr.shape[2:]))  # type: ignore[operator]


def _reduction(recipe: Recipe, images: losses.Images, fed: Tensor) -> dict[str, Tensor]:
    """Compute the distance of the network's downscaled image from bicubic: mean (fed - lr)^2, weighted."""
    if not recipe.downscale_weight:
        return {}
    return {"reduced": recipe.downscale_weight * nn.functional.mse_loss(fed, images.lr)}


def _supervision(
    state: State, work: Work, recipe: Recipe, images: losses.Images, earlier: list[Tensor]
) -> dict[str, Tensor]:
    """Compute the same loss for intermediate outputs, summed, against the targets in their sizes.

    Each counts by its number of pixels, relative to the result's.
    """
    weight = schedule.supervision(recipe, state.step)
    if not earlier or not weight or work.phase.discriminator:
        return {}
    found = [
        losses.total(
            work.objective(losses.Images(shown.float(), _resize_target(images.hr, shown), images.lr))
        )
        * (shown.numel() / images.hr.numel())
        for shown in earlier
    ]
    return {"stages": weight * torch.stack(found).sum()}


def _resize_target(hr: Tensor, sr: Tensor) -> Tensor:
    return hr if hr.shape == sr.shape else resize(hr, *sr.shape[2:])


def _imitation(recipe: Recipe, images: losses.Images) -> dict[str, Tensor]:
    """Compute the distance to the teacher's output, weighted, if a teacher is there beside the truth."""
    if images.teacher is None or recipe.target in ("teacher", "mean"):
        return {}
    return {"teacher": recipe.distil * imitation_loss(images)}


def _check_finite(figures: dict[str, float], norm: float, step: int) -> None:
    bad = next((label for label, value in figures.items() if not math.isfinite(value)), "")
    if bad or not math.isfinite(norm):
        what = f"the {bad} loss" if bad else f"the gradient of {' + '.join(figures)}"
        raise NotFiniteError(
            f"{what} is not finite at step {step}", "--resume with a smaller --learning-rate"
        )


def _step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]
    optimiser.step()


def _train_discriminator(
    state: State, work: Work, images: losses.Images, rate: float, *, checks: bool
) -> dict[str, Tensor]:
    assert state.discriminator is not None
    assert state.discriminator_optimiser is not None
    state.discriminator_optimiser.zero_grad(set_to_none=True)
    loss = work.objective.discriminator_loss(images)
    loss.backward()  # type: ignore[no-untyped-call]
    parallel.average_gradients(state.discriminator)
    if checks:
        _check_finite({"discriminator": float(loss.detach())}, 0.0, state.step)
    _step(state.discriminator_optimiser, rate)
    return {"discriminator": loss.detach()}


def validate(state: State, setup: Setup) -> Row:
    """Score the averaged weights by the code of `sr bench`, on images degraded as in training."""
    return evaluate(build_method(state, setup), setup.pictures, setup.recipe.scale, setup.reduction)


def score_bicubic(setup: Setup) -> float:
    """Return the PSNR-Y, in dB, of bicubic upscaling on the validation images."""
    return evaluate(Interpolator("bicubic"), setup.pictures, setup.recipe.scale, setup.reduction).psnr_y


def build_method(state: State, setup: Setup) -> Method:
    """Return the averaged weights as a method."""
    network, spec = deploy(state, setup.recipe)
    own = copy.deepcopy(network)
    if setup.recipe.scales:
        own.scale = setup.recipe.scale  # type: ignore[assignment]
    return chain_networks(
        setup.recipe.title, [build_upscaler(own, spec, MethodOptions(device=setup.device.name))]
    )


def run(state: State, setup: Setup) -> Generator[StepDone]:
    """Train to the recipe's last step, yielding after each; leaves `state.pt`, weights and a log.

    Closing the generator, or an error, saves the state first, so that `resume` loses nothing.
    """
    setup.folder.mkdir(parents=True, exist_ok=True)
    meter, first, psnr_y = Meter(), state.step, None
    work = prepare(state, setup)
    rehearse(state, setup)
    try:
        _save(state, setup, meter)
        _forget_after(setup.folder / LOG, state.step)
        while state.step < setup.recipe.all_steps:
            if work.phase != phase_at(setup.recipe, state.step):
                work = prepare(state, setup)
            note = _try_step(state, setup, work, meter)
            if note:
                work = prepare(state, setup)  # with other batches: one of these may be the cause
            due = not note and _is_due(state, setup.recipe)
            if due:
                psnr_y = checkpoint(state, setup, meter.mean())
            if due or (not meter.pending and time.monotonic() - meter.saved > SAVE_EVERY):
                _save(state, setup, meter)
            yield _progress(state, setup, meter, first, psnr_y, due, note)
            setup, work = _adapt(state, setup, work)
    finally:
        # After a loss that is not finite, the checkpoint before it remains.
        with suppress(NotFiniteError):
            meter.read()
            _save(state, setup, meter)


def _adapt(state: State, setup: Setup, work: Work) -> tuple[Setup, Work]:
    """Return setup and phase with the number of steps that fits the time left."""
    if state.step >= setup.recipe.all_steps:
        return setup, work
    recipe = setup.adapt(setup.recipe, state.step)
    if recipe is setup.recipe:
        return setup, work
    before, setup = setup, replace(setup, recipe=recipe)
    if work.phase == phase_at(before.recipe, state.step):
        work = replace(work, phase=phase_at(recipe, state.step))
    if recipe.patches:  # their sizes depend on the number of steps
        retries = state.nonfinite_retries
        work = replace(work, batches=iterate_batches(recipe, setup.draw, state.step, retries, setup.workers))
    return setup, work


def _forget_after(log: Path, step: int) -> None:
    """Remove validations after the checkpoint from the log: they will be repeated."""
    if not parallel.is_first() or not log.exists():
        return
    lines = log.read_text("utf-8", "replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _read_step(line) <= step]
    if kept != lines:
        with replace_atomically(log) as temporary:
            temporary.write_text("".join(kept))


def _read_step(line: str) -> float:
    """Return the step of a line of the log; infinity if it is damaged."""
    try:
        return float(parse_json(line)["step"])
    except (ValueError, LookupError, TypeError):
        return math.inf


def _try_step(state: State, setup: Setup, work: Work, meter: Meter) -> str:
    """Take a step; if it is not finite, restore the last good state at half the rate, and say why."""
    try:
        meter.pending.append(take_step(state, setup, work, meter))
        if len(meter.pending) >= setup.read_every or not meter.last or _is_due(state, setup.recipe):
            meter.read()
    except NotFiniteError as error:
        if state.nonfinite_retries == MAX_NONFINITE_RETRIES:
            raise
        nonfinite_retries, rate = state.nonfinite_retries + 1, state.rate / 2
        saved = torch.load(setup.folder / STATE, map_location=setup.device.name, weights_only=True)
        restore(state, saved, setup.recipe, setup.device)
        state.nonfinite_retries, state.rate = nonfinite_retries, rate
        meter.pending.clear()
        return f"{error.message}: resumed from step {state.step} at {rate:g} of the learning rate"
    return ""


def _is_due(state: State, recipe: Recipe) -> bool:
    ends = (recipe.steps, recipe.all_steps)
    return state.step % recipe.validate_every == 0 or state.step in ends


def _save(state: State, setup: Setup, meter: Meter) -> None:
    if parallel.is_first():
        save(setup.folder, state, setup.recipe)
    meter.saved = time.monotonic()


def _progress(
    state: State, setup: Setup, meter: Meter, first: int, psnr_y: float | None, due: bool, note: str
) -> StepDone:
    passed = time.monotonic() - meter.began
    speed = (state.step - first) / passed
    steps = setup.recipe.all_steps
    return StepDone(
        state.step, steps, meter.last, psnr_y, speed, meter.waited / passed, due, note, setup.bicubic
    )


def checkpoint(state: State, setup: Setup, terms: dict[str, float]) -> float:
    """Validate, append to the log, and keep the weights if they are the best so far; PSNR-Y in dB.

    Against a discriminator, and where training images are sharpened or a teacher's, the newest weights are
    kept: better ones need not have a higher PSNR.
    """
    if not parallel.is_first():
        return math.nan
    row = validate(state, setup)
    figures = {"loss": sum(terms.values()), "psnr_y": row.psnr_y, "ssim_y": row.ssim_y}
    if math.isfinite(setup.bicubic):
        figures["bicubic"] = setup.bicubic
    with (setup.folder / LOG).open("a") as log:
        log.write(json.dumps({"step": state.step, **figures, "terms": terms}) + "\n")
    setup.log(state.step, figures | terms)
    recipe = setup.recipe
    keeps_newest = state.step > recipe.steps or recipe.sharpen > 0 or recipe.target in ("teacher", "mean")
    if keeps_newest or row.psnr_y > state.best:
        state.best = max(state.best, row.psnr_y)
        save_weights(state, setup, row.psnr_y)
    if state.step == recipe.steps and recipe.gan:
        save_weights(state, setup, row.psnr_y, "psnr-")
    return row.psnr_y


def save_weights(state: State, setup: Setup, psnr_y: float, prefix: str = "") -> None:
    """Write the averaged weights as the file that upscale, bench and compare take."""
    recipe = json.dumps(asdict(setup.recipe))
    notes = {"recipe": recipe, "step": str(state.step), "psnr_y": f"{psnr_y:.4f}"}
    if math.isfinite(setup.bicubic):
        notes["bicubic"] = f"{setup.bicubic:.4f}"
    files.save_network(weights_path(setup.folder, setup.recipe, prefix), *deploy(state, setup.recipe), notes)


def deploy(state: State, recipe: Recipe) -> tuple[nn.Module, archs.Spec]:
    """Return the averaged network without what only training needs, and its spec."""
    kept = state.ema if recipe.ema > 0 else state.network
    network, config = archs.deploy(recipe.arch, recipe.scale, recipe.config, kept)
    return network, archs.Spec(recipe.arch, recipe.kind, config)


def weights_path(folder: Path, recipe: Recipe, prefix: str = "") -> Path:
    """Return the path of a run's best weights; those of the first phase begin with `psnr-`."""
    return folder / f"{prefix}{recipe.title}-{recipe.label}.safetensors"
