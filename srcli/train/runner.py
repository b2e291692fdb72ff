"""A training run from request to weights: recipe, data, loop, events."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from srcli import archs, datasets, manifest
from srcli.archs import Spec
from srcli.datasets import Picture
from srcli.engine.device import Device, count_threads, keep_freed_memory, select_device
from srcli.engine.weights import files
from srcli.engine.weights.checkpoint import read_header
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.degrade.degradations import parse_degradation
from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.methods import Interpolator
from srcli.storage.files import replace_atomically
from srcli.storage.json_text import parse_json, read_json
from srcli.train import augment, loop, parallel, recipe, recipes, state, time_budget
from srcli.train.batches import has_fixed_inputs
from srcli.train.events import (
    DataReady,
    Event,
    Fitted,
    Interrupted,
    Preparing,
    Started,
    Validated,
)
from srcli.train.feed import Drawer, Feed
from srcli.train.pairs_store import PairSpec, count_affordable, open_pairs
from srcli.train.recipe import Recipe
from srcli.train.request import Summary, TrainRequest
from srcli.train.sources import parse
from srcli.train.state import State
from srcli.train.store import StoreSpec, open_store
from srcli.train.teacher import find_own_network
from srcli.workers.progress import ignore

Emit = Callable[[Event], None]


def run(
    request: TrainRequest, emit: Emit = ignore, should_stop: Callable[[], bool] = lambda: False
) -> Summary:
    """Train until the last step, or until `should_stop` is true; leave weights, a log and a state to resume.

    Raises `SrError` if the request, the data or the machine do not allow the run.
    """
    began = time.monotonic()
    keep_freed_memory()
    if request.resume:
        state.find_saved(request.resume)
        request = read_request(request)
    if not request.data:
        raise UsageError("no training images", "name a folder of images with --data")
    parallel.join()
    is_first = parallel.is_first()
    if not is_first:
        emit = ignore
    device = select_device(parallel.local_device(request.device))
    begun, chosen, folder, restarted = _open_state(request, device)
    emit(Started(chosen, str(device), folder, begun.step, restarted, begun.warm_start))
    # Before the long decoding, to report a bad folder at once.
    pictures = _load_pictures(request, chosen.scale)

    def emit_or_stop(event: Event) -> None:
        if isinstance(event, Preparing) and should_stop():
            raise KeyboardInterrupt
        emit(event)

    chosen = _fit_pairs(request, chosen, device, emit)
    workers = count_workers(request, chosen, device)
    draw_batch = open_draw(request, chosen, begun, device, emit_or_stop, workers)
    log = _open_tensorboard(folder) if request.tensorboard else ignore
    read_every = 1 if device.name == "cpu" else _READ_EVERY
    setup = loop.Setup(
        chosen, device, folder, draw_batch, pictures, log, read_every=read_every, workers=workers
    )
    limit = None if begun.step else _find_limit(request, device)
    if limit:
        emit(Preparing("timing a validation"))
        request = replace(request, validation_side=time_budget.fit_validation(begun, setup, limit))
        side = request.validation_side
        setup = replace(
            setup, pictures=time_budget.crop_pictures(pictures, chosen.scale, side) if side else pictures
        )
    which = "validation images" if request.validation else "samples of sr (--valid for others)"
    emit(Preparing(f"scoring bicubic on {len(pictures)} {which}"))
    setup = replace(setup, bicubic=loop.score_bicubic(setup))
    if limit:
        setup = _fit_to_time(request, begun, setup, limit, began, emit)
    if parallel.is_first():
        write_request(request, folder)
    interrupted = _run_steps(begun, setup, emit, should_stop)
    if interrupted:
        emit(Interrupted(begun.step, folder))
    else:
        parallel.leave()
    weights = loop.weights_path(folder, setup.recipe)
    return Summary(weights, begun.best, begun.step, setup.bicubic, interrupted, is_first)


def _fit_pairs(request: TrainRequest, chosen: Recipe, device: Device, emit: Emit) -> Recipe:
    """Return the recipe with no more pairs than the teacher makes in half of the time, if that is limited."""
    is_set = any(text.partition("=")[0] == "pairs" for text in request.assignments)
    if not chosen.pairs or request.seconds is None or request.resume or is_set:
        return chosen
    emit(Preparing("timing the teacher"))
    pairs = PairSpec(
        chosen.teacher, chosen.pairs, request.data, _specify_store(request, chosen, chosen.scale)
    )
    return replace(chosen, pairs=count_affordable(pairs, device.name, request.seconds / 2))


def _find_limit(request: TrainRequest, device: Device) -> float | None:
    """Return the seconds that the steps are to fit into: as requested, or an hour without a GPU.

    None if the number of steps is fixed.
    """
    automatic = request.preset is None and device.name == "cpu" and not _sets_steps(request)
    return request.seconds or (_HOUR if automatic else None)


def _fit_to_time(
    request: TrainRequest, begun: State, setup: loop.Setup, limit: float, began: float, emit: Emit
) -> loop.Setup:
    """Choose the number of steps: as many as fit, or fewer if the recipe has fewer and no time was requested.

    Preparing the images counts, but half of the time at least is for training.
    """
    limit = max(limit / 2, limit - (time.monotonic() - began))
    end = time.perf_counter() + limit
    emit(Preparing("timing a few steps"))
    speed = time_budget.measure(begun, setup, limit)
    fitted = setup.recipe
    if request.seconds is not None or time_budget.estimate(fitted, speed) > _HOUR:
        fitted = time_budget.fit(fitted, speed, end - time.perf_counter())
        setup = replace(setup, adapt=time_budget.TimeLimit(fitted, speed, end).adapt)
    paper = None
    if request.preset != "paper":
        published = choose_recipe(replace(request, preset="paper"))
        paper = time_budget.estimate_other(published, fitted, speed)
    seconds = time_budget.estimate(fitted, speed)
    emit(Fitted(fitted.all_steps, seconds, paper, request.validation_side))
    return replace(setup, recipe=fitted)


_HOUR = 3600.0
# Steps on a GPU between two readings of the losses.
_READ_EVERY = 50


def _sets_steps(request: TrainRequest) -> bool:
    names = {text.partition("=")[0] for text in request.assignments}
    return request.changes.get("steps") is not None or not names.isdisjoint(("steps", "gan.steps"))


_REQUEST = "request.json"


def write_request(request: TrainRequest, folder: Path) -> None:
    """Write down what `--resume FOLDER` needs besides the state: the images."""
    facts = {
        "data": request.data,
        "validation": str(request.validation) if request.validation else None,
        "allow_leak": request.allow_leak,
        "validation_side": request.validation_side,
        "max_pixels": request.max_pixels,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replace_atomically(folder / _REQUEST) as temporary:
        temporary.write_text(json.dumps(facts, indent=1), "utf-8")


def read_request(request: TrainRequest) -> TrainRequest:
    """Return the request to resume, with the images of the run unless it names others."""
    assert request.resume is not None
    try:
        facts = read_json(request.resume / _REQUEST)
        data, validation = tuple(map(str, facts["data"])), facts["validation"]
        allow_leak, side = bool(facts["allow_leak"]), int(facts.get("validation_side", 0))
        limit = None if facts.get("max_pixels") is None else int(facts["max_pixels"])
    except FileNotFoundError:  # a run of an earlier version
        data, validation, allow_leak, side, limit = (), None, False, 0, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SrError(f"{request.resume / _REQUEST} is damaged", "name the images with --data") from error
    return replace(
        request,
        data=request.data or data,
        validation=request.validation or validation,
        allow_leak=request.allow_leak or allow_leak,
        validation_side=0 if request.validation else side,
        output=request.resume,
        max_pixels=request.max_pixels or limit,
    )


def _run_steps(begun: State, setup: loop.Setup, emit: Emit, should_stop: Callable[[], bool]) -> bool:
    """Take the steps; return whether `should_stop` ended them."""
    first = True
    try:
        with closing(loop.run(begun, setup)) as steps:
            for done in steps:
                emit(done)
                if done.validated and parallel.is_first():
                    emit(_compare_sample(begun, setup, first))
                    first = False
                if should_stop():
                    return True
    except parallel.ProcessLostError:
        if should_stop():  # Ctrl-C reaches all processes, and another one was faster
            return True
        raise
    return False


def choose_recipe(request: TrainRequest, on_gpu: bool = False) -> Recipe:
    """Return the recipe of the network and preset or, to fine-tune, of the weights to start from."""
    kind = request.preset or ("paper" if on_gpu else "quick")
    recipes.check_preset(kind)
    if request.start_from is None:
        if request.network is None:
            raise UsageError("no network given", "name one, such as slimres; `sr train --list` shows all")
        return recipes.preset(request.network, request.scale, kind)
    base, spec, path = find_weights(request.start_from, request.scale)
    if request.network not in (None, spec.arch, base.title):
        raise UsageError(f"{request.start_from} is {spec}, not {request.network}", "leave out the network")
    return recipes.fine_tuning(base, replace(spec, scale=base.scale), str(path), kind)


def find_weights(name: str, scale: int) -> tuple[Recipe, Spec, Path]:
    """Find the recipe, network and file of weights that are given as a file, as MODEL-xSCALE or as MODEL.

    The recipe is the one in the file's header, if `sr train` wrote it, or that of the published model.
    """
    if Path(name).is_file():
        specs = files.identify_specs(Path(name))
        fitting = [spec for spec in specs if spec.scale == scale] or specs
        if not fitting:
            raise SrError(f"{name} fits no network that sr has", f"`sr models info {name}` says what it is")
        spec = fitting[0]
        return _read_recipe(Path(name)) or recipes.find(spec.arch, spec.scale or scale), spec, Path(name)
    entries = manifest.find_named(name)
    entries = [entry for entry in entries if entry.scale == scale] or entries
    if len(entries) > 1:
        known = ", ".join(entry.name for entry in entries)
        raise UsageError(f"there are several weights called {name}", f"choose one of: {known}")
    (entry,) = entries
    base = recipes.find_for_weights(
        entry.model, entry.arch, entry.scale or scale, real_world=entry.purpose != "classical"
    )
    return base, Spec(entry.arch, entry.scale, entry.config), files.locate_weights(entry)


def _read_recipe(path: Path) -> Recipe | None:
    """Return the recipe stored in a file's header, or None."""
    try:
        return recipe.from_dict(parse_json(read_header(path)["recipe"]))
    except (KeyError, ValueError, TypeError):
        return None


def _open_state(request: TrainRequest, device: Device) -> tuple[State, Recipe, Path, bool]:
    """Start a new run, or load the one to resume.

    Returns the state, the recipe with all changes applied, the run's folder, and whether torchrun restarted
    it.
    """
    if request.resume:
        own: dict[str, Any] = {}
        if request.network:
            wanted = recipes.find(request.network, request.scale)
            own = {"arch": wanted.arch, "scale": wanted.scale}
        begun, chosen = state.resume(request.resume, device, own | request.changes, request.assignments)
        return begun, chosen, request.resume, False
    chosen = choose_recipe(request, on_gpu=device.name != "cpu")
    folder = request.output or Path("runs") / f"{chosen.title}-{chosen.label}"
    if parallel.broadcast_decision(state.is_this_run(folder)):
        return *state.resume(folder, device, request.changes, request.assignments), folder, True
    changed = recipe.apply_assignments(recipe.apply_changes(chosen, request.changes), request.assignments)
    changed = recipes.settle_precision(settle_teacher(changed), device)
    if parallel.is_first():
        loop.check_new(folder)
    return state.start(changed, device), changed, folder, False


def settle_teacher(chosen: Recipe) -> Recipe:
    """Return the recipe with target and pairs decided, if it has a teacher and leaves them open.

    Raises `SrError` if the teacher is not at hand.
    """
    if not chosen.teacher:
        return chosen
    runs = find_own_network(chosen.teacher, chosen.scale) is not None
    pairs = chosen.pairs or (0 if runs else _PAIRS)
    return recipe.check_recipe(
        replace(chosen, pairs=pairs, target=chosen.target or ("teacher" if pairs else "truth"))
    )


_PAIRS = 256


def _load_pictures(request: TrainRequest, scale: int) -> list[Picture]:
    """Read the images to validate on, with their low-resolution partners if they have some."""
    chosen = datasets.find_dataset(str(request.validation)) if request.validation else datasets.load_samples()
    lrs = chosen.find_partners(scale) or (None,) * len(chosen.files)
    pictures = [
        datasets.read_picture(*files, request.max_pixels) for files in zip(chosen.files, lrs, strict=True)
    ]
    for lr, picture in zip(lrs, pictures, strict=True):
        if picture.lr is not None:
            _check_sizes(lr, picture.lr, picture, scale)
    side = request.validation_side
    return time_budget.crop_pictures(pictures, scale, side) if side else pictures


def _check_sizes(file: Path | None, low: Pixels, picture: Picture, scale: int) -> None:
    """Raise `DatasetError` if the low-resolution version of a validation image has the wrong size."""
    height, width = picture.pixels.shape[:2]
    if low.shape[:2] != (height // scale, width // scale):
        size, needed = f"{low.shape[1]}x{low.shape[0]}", f"{width // scale}x{height // scale}"
        reason = f"{file} is {size}, but {picture.name} of {width}x{height} at x{scale} needs {needed}"
        raise DatasetError(reason, "remove both from the validation images")


def open_draw(
    request: TrainRequest,
    chosen: Recipe,
    begun: State,
    device: Device,
    emit: Emit = ignore,
    workers: int = 0,
) -> Drawer:
    """Open the images, and return what draws batches of the recipe's scales from them.

    `workers`: processes that will call it; 0: only this one does.
    """

    def report(stage: str, done: int, total: int) -> None:
        emit(Preparing(stage, done, total))

    def open_feed(scale: int) -> Feed:
        wanted, cropped = _specify_store(request, chosen, scale), 0
        if chosen.pairs:
            pairs = PairSpec(chosen.teacher, chosen.pairs, request.data, wanted)
            store = open_pairs(pairs, device.name, report)
        else:
            sources = [parse(text, scale) for text in request.data]
            store = open_store(sources, wanted, report)
            cropped = sum(crop is not None for source in sources for crop in source.crops)
        label = "any scale" if chosen.scale_range else f"x{scale}"
        emit(DataReady(len(store), label, store.left_out, store.leaks, cropped))
        # Crops are cut on the device that holds the samples, unless processes degrade them.
        placed = store if device.name == "cpu" or workers else store.to(torch.device(device.name))
        channels = int(begun.network.channels)  # type: ignore[arg-type]
        return Feed(placed, channels, augment.parse(chosen.augment))

    if chosen.scale_range:
        feed = open_feed(1)
        part = chosen.downscale_weight == 0
        return Drawer({1: feed}, any_scale=True, part=part)
    feeds = {scale: open_feed(scale) for scale in chosen.scales or (chosen.scale,)}
    return Drawer(feeds)


def _specify_store(request: TrainRequest, chosen: Recipe, scale: int) -> StoreSpec:
    patch = max((chosen.patch, *chosen.patches))
    return StoreSpec(
        scale,
        round(patch * max(chosen.scale_range, default=1)),
        parse_degradation(chosen.degrade),
        chosen.rescale_factors,
        archs.traits(chosen.arch).pre_upsampled,
        request.allow_leak,
        chosen.sharpen,
        bool(chosen.scale_range),
        request.max_pixels,
    )


def count_workers(request: TrainRequest, chosen: Recipe, device: Device) -> int:
    """Return the number of processes that degrade batches: as requested, or the cores that are idle.

    Without a GPU, the network takes all cores; with one, each training process has its share of them.
    """
    if has_fixed_inputs(chosen):
        return 0
    if request.workers is not None:
        return request.workers
    if device.name == "cpu":
        return 0
    return min(_MOST_WORKERS, max(0, count_threads() // parallel.local_world() - 1))


# More than a GPU needs, see docs/train.md; each takes 300 MB of memory.
_MOST_WORKERS = 16


def _open_tensorboard(folder: Path) -> Callable[[int, dict[str, float]], None]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SrError("TensorBoard is not installed", "`pip install 'sr-cli[tensorboard]'`") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log


def _compare_sample(begun: State, setup: loop.Setup, first: bool) -> Validated:
    """Upscale the first validation image, reduced as in training, by bicubic and by the network."""
    scale, picture = setup.recipe.scale, setup.pictures[0]
    true = crop_to_multiple(picture.pixels, scale)
    low = picture.lr if picture.lr is not None else setup.reduction.make_reducer(picture.name, scale)(true)
    methods = (Interpolator("bicubic"), loop.build_method(begun, setup))
    outputs = {method.name: method(low, scale) for method in methods} | {"truth": true}
    return Validated(begun.step, setup.folder, low, outputs, first)
