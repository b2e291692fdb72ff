"""A training run from request to weights: recipe, data, loop, events."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from srcli import archs, datasets, manifest
from srcli.archs import Spec
from srcli.datasets import Picture
from srcli.engine.device import Device, keep_freed_memory, select_device
from srcli.engine.weights import files
from srcli.errors import SrError, UsageError
from srcli.imaging.degrade.degradations import downscale_bicubic, parse_degradation
from srcli.imaging.pixels import crop_to_multiple
from srcli.methods import Interpolator
from srcli.train import augment, loop, parallel, recipe, recipes, state
from srcli.train.batches import Draw
from srcli.train.events import DataReady, Event, ImageDecoded, Interrupted, Started, Validated
from srcli.train.feed import Feed, draw, draw_any
from srcli.train.planes import Tick
from srcli.train.recipe import Recipe
from srcli.train.request import Summary, TrainRequest
from srcli.train.sources import parse
from srcli.train.state import State
from srcli.train.store import Store, StoreSpec, open_store
from srcli.workers.progress import ignore

Emit = Callable[[Event], None]


def run(
    request: TrainRequest, emit: Emit = ignore, should_stop: Callable[[], bool] = lambda: False
) -> Summary:
    """Train until the last step, or until `should_stop` is true; leave weights, a log and a state to resume.

    Raises `SrError` if the request, the data or the machine do not allow the run.
    """
    keep_freed_memory()
    if not request.data:
        raise UsageError("no training images", "give a folder of images with --data")
    chosen = choose_recipe(request)
    folder = request.output or Path("runs") / f"{chosen.title}-{chosen.label}"
    parallel.join()
    device = select_device(parallel.local_device(request.device))
    restarted = parallel.broadcast_decision(state.is_this_run(folder))
    begun, chosen = _open_state(request, chosen, folder, device, restarted)
    emit(Started(chosen, str(device), folder, begun.step, restarted, begun.warm_start))
    pictures = _load_pictures(request.validation)  # before the long decoding, to report a bad folder at once

    def report_decoded(done: int, total: int) -> None:
        if should_stop():
            raise KeyboardInterrupt
        emit(ImageDecoded(done, total))

    draw_batch = open_draw(request, chosen, begun, device, emit, report_decoded)
    log = _open_tensorboard(folder) if request.tensorboard else ignore
    setup = loop.Setup(chosen, device, folder, draw_batch, pictures, log)
    interrupted = _run_steps(begun, setup, emit, should_stop)
    if interrupted:
        emit(Interrupted(begun.step))
    else:
        parallel.leave()
    return Summary(loop.weights_path(folder, chosen), begun.best, begun.step, interrupted)


def _run_steps(begun: State, setup: loop.Setup, emit: Emit, should_stop: Callable[[], bool]) -> bool:
    """Take the steps; return whether `should_stop` ended them."""
    first = True
    with closing(loop.run(begun, setup)) as steps:
        for done in steps:
            emit(done)
            if done.validated and parallel.is_first():
                emit(_compare_sample(begun, setup, first))
                first = False
            if should_stop():
                return True
    return False


def choose_recipe(request: TrainRequest) -> Recipe:
    """Return the recipe of the network and preset or, to fine-tune, of the weights to start from."""
    if request.start_from is None:
        if request.network is None:
            raise UsageError("no network given", "name one; `sr train --list` shows all")
        return recipes.preset(request.network, request.scale, request.preset)
    spec, path = find_weights(request.start_from, request.scale)
    if request.network not in (None, spec.arch):
        raise UsageError(f"{request.start_from} is {spec}, not {request.network}", "leave out the network")
    return recipes.fine_tuning(replace(spec, scale=spec.scale or request.scale), str(path))


def find_weights(name: str, scale: int) -> tuple[Spec, Path]:
    """Find the network and the file of weights that are given as a file or as MODEL-xSCALE."""
    if Path(name).is_file():
        specs = files.identify_specs(Path(name))
        fitting = [spec for spec in specs if spec.scale == scale] or specs
        if not fitting:
            raise SrError(f"{name} fits no network that sr has", f"`sr models info {name}` says what it is")
        return fitting[0], Path(name)
    entries = manifest.find_named(name)
    if len(entries) > 1:
        known = ", ".join(entry.name for entry in entries)
        raise UsageError(f"there are several weights called {name}", f"choose one of: {known}")
    (entry,) = entries
    return Spec(entry.arch, entry.scale, entry.config), files.locate_weights(entry)


def _open_state(
    request: TrainRequest, chosen: Recipe, folder: Path, device: Device, restarted: bool
) -> tuple[State, Recipe]:
    """Start a new run, or load the one to resume; the recipe with all changes applied."""
    if request.resume or restarted:
        own = {"arch": chosen.arch, "scale": chosen.scale}
        return state.resume(folder, device, own | request.changes, request.assignments)
    changed = recipe.apply_assignments(recipe.apply_changes(chosen, request.changes), request.assignments)
    if parallel.is_first():
        loop.check_new(folder)
    return state.start(changed, device), changed


def _load_pictures(validation: Path | None) -> list[Picture]:
    chosen = datasets.open_folder(validation) if validation else datasets.load_samples()
    return list(chosen.read_pictures())


def open_draw(
    request: TrainRequest,
    chosen: Recipe,
    begun: State,
    device: Device,
    emit: Emit = ignore,
    tick: Tick = lambda done, total: None,
) -> Draw:
    """Return a function that draws batches of the recipe's scales; all scales share the decoded images."""

    def open_feed(scale: int) -> Feed:
        store = _open_store(request, chosen, scale, tick)
        label = "any scale" if chosen.scale_range else f"x{scale}"
        emit(DataReady(len(store), label, store.left_out, store.leaks))
        # Crops are cut and degraded on the device that holds the samples.
        placed = store if device.name == "cpu" else store.to(torch.device(device.name))
        channels = int(begun.network.channels)  # type: ignore[arg-type]
        return Feed(placed, channels, augment.parse(chosen.augment))

    if chosen.scale_range:
        feed = open_feed(1)
        part = chosen.downscale_weight == 0
        return lambda scale, patch, count, rng: draw_any(feed, scale, patch, count, rng, part=part)
    feeds = {scale: open_feed(scale) for scale in chosen.scales or (chosen.scale,)}
    return lambda scale, patch, count, rng: draw(feeds[int(scale)], patch, count, rng)


def _open_store(request: TrainRequest, chosen: Recipe, scale: int, tick: Tick) -> Store:
    patch = max((chosen.patch, *chosen.patches))
    wanted = StoreSpec(
        scale,
        round(patch * max(chosen.scale_range, default=1)),
        parse_degradation(chosen.degrade),
        chosen.rescale_factors,
        archs.traits(chosen.arch).pre_upsampled,
        request.allow_leak,
        chosen.sharpen,
        bool(chosen.scale_range),
    )
    return open_store([parse(text, scale) for text in request.data], wanted, tick)


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
    """Upscale the first validation image by bicubic and by the network."""
    scale = setup.recipe.scale
    true = crop_to_multiple(setup.pictures[0].pixels, scale)
    low = downscale_bicubic(true, scale)
    methods = (Interpolator("bicubic"), loop.build_method(begun, setup))
    outputs = {method.name: method(low, scale) for method in methods} | {"truth": true}
    return Validated(begun.step, setup.folder, low, outputs, first)
