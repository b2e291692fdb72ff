"""`sr train`: weights of one's own, with one command."""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TextColumn

from srcli.cli import completion, console, options
from srcli.errors import ExitCode, SrError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from srcli.archs import Spec
    from srcli.datasets import Picture
    from srcli.train.batches import Draw
    from srcli.train.feed import Feed
    from srcli.train.loop import Progress, Setup
    from srcli.train.recipe import Recipe
    from srcli.train.state import State

_LOG_EVERY = 1_000


def train(
    network: Annotated[
        str | None,
        typer.Argument(
            help="What to train; --list shows all.", show_default=False, autocompletion=completion.archs
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of images, searched recursively; FOLDER=WEIGHT to draw from it more or less often;"
            " FOLDER,lr=FOLDER with low-resolution partners of the same names. May repeat."
        ),
    ] = None,
    scale: options.OneScale = 4,
    preset: Annotated[
        str, typer.Option(help="paper: as published; quick: minutes on a CPU, to see that it learns.")
    ] = "paper",
    start_from: Annotated[
        str | None, typer.Option("--from", help="Fine-tune these weights: MODEL-xSCALE or a file.")
    ] = None,
    valid: Annotated[
        Path | None, typer.Option(help="Folder of images to validate on; the built-in samples by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights, state and log; runs/NETWORK-xSCALE by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Patches in a step.")] = None,
    patch: Annotated[
        int | None, typer.Option(min=8, help="Patch side in pixels of the network's input.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Weighted sum of losses, as in l1=1,frequency=0.05.")
    ] = None,
    degrade: Annotated[
        str | None, typer.Option(help="How images are reduced: bicubic, blur,sigma=1.6, second-order ...")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="The optimiser's peak rate.")] = None,
    validate_every: Annotated[int | None, typer.Option(min=1, help="Steps between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the initial weights and of the crops.")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to start from, of any scale.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as in --set rescale_factors=1,0.5; may repeat."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Train on images of the benchmarks all the same.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log for TensorBoard too.")] = False,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one for each GPU.")
    ] = None,
    device: options.Device = None,
    show_list: Annotated[bool, typer.Option("--list", help="List what can be trained, and stop.")] = False,
) -> None:
    """Train a network on a folder of images; Ctrl-C leaves a state that --resume goes on with."""
    whole = options.require_whole_scale(scale)
    if show_list:
        _print_recipes(whole)
        return
    if gpus and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(_under_torchrun(gpus))
    from srcli.engine.device import choose, keep_memory
    from srcli.train import loop, parallel, recipe, state

    keep_memory()

    changes = {
        "steps": steps,
        "batch": batch,
        "patch": patch,
        "loss": loss,
        "degrade": degrade,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
        "init": str(init) if init else None,
    }
    if data is None:
        raise UsageError("there is nothing to learn from", "name a folder of images with --data")
    chosen = _recipe(network, whole, preset, start_from)
    folder = out or Path("runs") / f"{chosen.title}-{chosen.label}"
    parallel.join()
    where = choose(parallel.local_device(device))
    again = parallel.agreed(state.is_this_run(folder))
    if resume or again:
        own = {"arch": chosen.arch, "scale": chosen.scale}
        begun, chosen = state.resume(folder, where, own | changes, assignments or [])
    else:
        chosen = recipe.assigned(recipe.changed(chosen, changes), assignments or [])
        if parallel.is_first():
            loop.check_new(folder)
        begun = state.start(chosen, where)
    _tell(chosen)
    console.err.print(f"on {where}, into {folder}", markup=False)
    if again:
        console.err.print(f"torchrun has started this run again: it goes on from step {begun.step}")
    pictures = _pictures(valid)  # before the long decoding, so that a bad folder is told at once
    feeds = _feeds(data, chosen, int(begun.network.channels), allow_leak, where.name)  # type: ignore[arg-type]
    log = _tensorboard(folder) if tensorboard else _no_log
    _run(begun, loop.Setup(chosen, where, folder, feeds, pictures, log))
    parallel.leave()
    console.out.print(f"{loop.weights_path(folder, chosen)}  PSNR-Y {begun.best:.3f} dB", markup=False)


def _tell(recipe: "Recipe") -> None:
    """Print every field, many to a line."""
    from dataclasses import asdict

    given = {key: value for key, value in asdict(recipe).items() if value not in ("", (), {}, None)}
    console.err.print(
        f"recipe {recipe.title}: " + "  ".join(f"{k}={v}" for k, v in given.items()), markup=False
    )


def _recipe(network: str | None, scale: int, preset: str, start_from: str | None) -> "Recipe":
    """By network and preset or, for fine-tuning, by the weights that it begins with."""
    from srcli.train import recipes

    if start_from is None:
        if network is None:
            raise UsageError("which network?", "`sr train --list` shows all")
        return recipes.preset(network, scale, preset)
    spec, path = _known(start_from, scale)
    if network not in (None, spec.arch):
        raise UsageError(f"{start_from} is {spec}, not {network}", "leave out the network")
    return recipes.fine_tuning(replace(spec, scale=spec.scale or scale), str(path))


def _known(name: str, scale: int) -> "tuple[Spec, Path]":
    """What weights are and where: a file, or an entry of the manifest."""
    from srcli import archs, manifest
    from srcli.engine.weights import files

    if Path(name).is_file():
        specs = files.specs_of(Path(name))
        fitting = [spec for spec in specs if spec.scale == scale] or specs
        if not fitting:
            raise SrError(f"{name} fits no network that sr has", f"`sr models info {name}` says what it is")
        return fitting[0], Path(name)
    entries = manifest.named(name)
    if len(entries) > 1:
        known = ", ".join(entry.name for entry in entries)
        raise UsageError(f"{name} is several weights", f"name one of: {known}")
    (entry,) = entries
    return archs.Spec(entry.arch, entry.scale, entry.config), files.locate(entry)


def _under_torchrun(gpus: int) -> int:
    """The same command line once more, as `gpus` processes that know of each other; the exit code."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    return subprocess.run([*words, "-m", "srcli", *sys.argv[1:]], check=False).returncode


def _print_recipes(scale: int) -> None:
    from rich import box
    from rich.table import Table

    from srcli.train import recipes

    table = Table(
        "Name", "Steps", "Patch", "Batch", "Reduced by", "Loss", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in recipes.names():
        recipe = recipes.find(name, scale)
        losses = [recipe.loss, recipe.gan.loss] if recipe.gan else [recipe.loss]
        sizes = (f"{recipe.all_steps:,}", str(recipe.patch), str(recipe.batch))
        table.add_row(name, *sizes, recipe.degrade, ", then ".join(losses))
    console.out.print(table)


def _run(state: "State", setup: "Setup") -> None:
    """Train until the last step or a signal."""
    from srcli.train import loop

    with console.stop_on_signal() as stopped:
        for progress in _shown(loop.run(state, setup)):
            if progress.validated:
                _picture(state, setup)
            if stopped.is_set():
                break
    if stopped.is_set():
        console.err.print(f"stopped at step {state.step}; go on with the same command and --resume")
        raise typer.Exit(ExitCode.INTERRUPTED)


def _picture(state: "State", setup: "Setup") -> None:
    """Curves, and a place of the first validation image by bicubic, by the network and in truth."""
    from srcli.imaging.degrade.degradations import downscale_bicubic
    from srcli.imaging.image import Image, write_image
    from srcli.imaging.pixels import crop_to_multiple
    from srcli.methods import Interpolator
    from srcli.report import training_curves
    from srcli.report.pictures import Panel, draw_sheet, find_busiest
    from srcli.train import loop, parallel

    if not parallel.is_first():
        return
    true = crop_to_multiple(setup.pictures[0].pixels, setup.recipe.scale)
    low = downscale_bicubic(true, setup.recipe.scale)
    region = find_busiest(low, 48)
    methods = (Interpolator("bicubic"), loop.method_of(state, setup))
    shown = {method.name: method(low, setup.recipe.scale) for method in methods} | {"truth": true}
    panels = [Panel(name, region.crop(pixels, low.shape[0])) for name, pixels in shown.items()]
    write_image(setup.folder / "samples" / f"step-{state.step:07}.png", Image(draw_sheet(panels)))
    try:
        training_curves.plot_curves(
            {"": training_curves.read_log(setup.folder / loop.LOG)}, setup.folder / "curves.png"
        )
    except SrError as error:
        if state.step <= setup.recipe.validate_every:
            console.print_error(error)


def _pictures(valid: Path | None) -> "list[Picture]":
    from srcli import datasets

    chosen = datasets.open_folder(valid) if valid else datasets.load_samples()
    return list(chosen.read_pictures())


def _feeds(texts: list[str], recipe: "Recipe", channels: int, allow_leak: bool, device: str) -> "Draw":
    """What gives batches of any of the recipe's scales; all scales share the decoded images."""
    from srcli.train.feed import draw, draw_any

    if recipe.scale_range:
        feed = _feed(texts, recipe, 1, channels, allow_leak, device)
        part = recipe.downscale_weight == 0
        return lambda scale, patch, count, rng: draw_any(feed, scale, patch, count, rng, part=part)
    feeds = {
        scale: _feed(texts, recipe, scale, channels, allow_leak, device)
        for scale in recipe.scales or (recipe.scale,)
    }
    return lambda scale, patch, count, rng: draw(feeds[int(scale)], patch, count, rng)


def _feed(
    texts: list[str], recipe: "Recipe", scale: int, channels: int, allow_leak: bool, device: str
) -> "Feed":
    import torch

    from srcli import archs
    from srcli.imaging.degrade import degradations
    from srcli.train import augment
    from srcli.train.feed import Feed
    from srcli.train.sources import parse
    from srcli.train.store import StoreSpec, open_store

    patch = max((recipe.patch, *recipe.patches))
    wanted = StoreSpec(
        scale,
        round(patch * max(recipe.scale_range, default=1)),
        degradations.parse_degradation(recipe.degrade),
        recipe.rescale_factors,
        archs.traits(recipe.arch).pre_upsampled,
        allow_leak,
        recipe.sharpen,
        bool(recipe.scale_range),
    )
    sources = [parse(text, scale) for text in texts]
    with console.make_progress_bar() as bar:
        task = bar.add_task("decoding")
        store = open_store(sources, wanted, lambda done, total: bar.update(task, completed=done, total=total))
    for reason in store.left_out:
        console.err.print(f"left out: {reason}", markup=False)
    for leak in store.leaks:
        console.err.print(f"used although it is in a benchmark: {leak}", markup=False)
    what = f"{len(store)} training images at {'any scale' if recipe.scale_range else f'x{scale}'}"
    console.err.print(f"{what}, {len(store.left_out)} left out")
    # Crops are cut and degraded where the samples lie: for a network on a GPU, there.
    placed = store if device == "cpu" else store.to(torch.device(device))
    return Feed(placed, channels, augment.parse(recipe.augment))


def _no_log(step: int, figures: dict[str, float]) -> None:
    pass


def _tensorboard(folder: Path) -> "Callable[[int, dict[str, float]], None]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SrError("TensorBoard is not here", "`pip install 'sr-cli[tensorboard]'`") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return log


def _shown(steps: "Generator[Progress]") -> "Iterator[Progress]":
    """The same steps, shown live to who watches and as a line now and then to who does not."""
    with closing(steps), console.make_progress_bar(TextColumn("{task.fields[about]}")) as bar:
        task = bar.add_task("training", about="")
        for progress in steps:
            bar.update(task, completed=progress.step, total=progress.steps, about=_about(progress))
            if progress.note:
                console.err.print(progress.note, markup=False)
            if bar.disable and progress.step % _LOG_EVERY == 0:
                console.err.print(f"step {progress.step}/{progress.steps}  {_about(progress)}")
            yield progress


def _about(progress: "Progress") -> str:
    terms = "  ".join(f"{name} {value:.3e}" for name, value in progress.terms.items())
    valid = "" if progress.psnr_y is None else f"  PSNR-Y {progress.psnr_y:.3f} dB"
    return f"{terms}{valid}  {progress.steps_per_second:.1f} steps/s, {progress.waiting:.0%} for data"
