"""`sr train`: weights of one's own, with one command."""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TextColumn

from srcli.cli import console, options
from srcli.errors import ExitCode

if TYPE_CHECKING:
    from srcli.datasets import Picture
    from srcli.train.data import Store
    from srcli.train.loop import Progress, Setup, State
    from srcli.train.recipes import Recipe

_LOG_EVERY = 1_000


def train(
    network: Annotated[str, typer.Argument(help="Which network: fsrcnn, espcn, srcnn or edsr.")],
    data: Annotated[Path, typer.Option(help="Folder of training images, searched recursively.")],
    scale: options.TrainScale = 4,
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
    loss: Annotated[str | None, typer.Option(help="l1 or l2.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Adam's peak learning rate.")] = None,
    validate_every: Annotated[int | None, typer.Option(min=1, help="Steps between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the initial weights and of the crops.")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to start from, of any scale.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, as in --set zooms=1,0.5; may repeat."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: options.Device = None,
) -> None:
    """Train a network on a folder of images; Ctrl-C leaves a state that --resume goes on with."""
    from srcli.engine.device import choose
    from srcli.train import loop, recipes

    changes = {
        "steps": steps,
        "batch": batch,
        "patch": patch,
        "loss": loss,
        "learning_rate": learning_rate,
        "validate_every": validate_every,
        "seed": seed,
        "init": str(init) if init else None,
    }
    folder, where = out or Path("runs") / f"{network}-x{scale}", choose(device)
    if resume:
        state, recipe = loop.resume(folder, where, {"arch": network, "scale": scale, **changes})
    else:
        recipe = recipes.assigned(recipes.changed(recipes.find(network, scale), changes), assignments or [])
        loop.check_new(folder)
        state = loop.start(recipe, where)
    console.talk.print(f"{recipe}\non {where}, into {folder}")
    pictures = _pictures(valid)  # before the long decoding, so that a bad folder is told at once
    setup = loop.Setup(recipe, where, folder, _store(data, recipe), pictures)
    _run(state, setup)
    console.result.print(f"{loop.weights_path(folder, recipe)}  PSNR-Y {state.best:.3f} dB")


def _run(state: "State", setup: "Setup") -> None:
    """Train until the last step or a signal."""
    from srcli.train import loop

    with console.until_signal() as stopped:
        for _ in _shown(loop.run(state, setup)):
            if stopped.is_set():
                break
    if stopped.is_set():
        console.talk.print(f"stopped at step {state.step}; go on with the same command and --resume")
        raise typer.Exit(ExitCode.INTERRUPTED)


def _pictures(valid: Path | None) -> "list[Picture]":
    from srcli import datasets

    chosen = datasets.folder(valid) if valid else datasets.samples()
    return list(chosen.pictures())


def _store(data: Path, recipe: "Recipe") -> "Store":
    from srcli import archs
    from srcli.train.data import load

    with console.bar() as bar:
        task = bar.add_task("decoding")
        store = load(
            data,
            recipe.scale,
            recipe.patch,
            archs.traits(recipe.arch).pre_upsampled,
            lambda done, total: bar.update(task, completed=done, total=total),
            recipe.zooms,
        )
    for reason in store.left_out:
        console.talk.print(f"left out: {reason}", markup=False)
    console.talk.print(f"{len(store.pairs)} training images, {len(store.left_out)} left out")
    return store


def _shown(steps: "Generator[Progress]") -> "Iterator[Progress]":
    """The same steps, shown live to who watches and as a line now and then to who does not."""
    with closing(steps), console.bar(TextColumn("{task.fields[about]}")) as bar:
        task = bar.add_task("training", about="")
        for progress in steps:
            bar.update(task, completed=progress.step, total=progress.steps, about=_about(progress))
            if bar.disable and progress.step % _LOG_EVERY == 0:
                console.talk.print(f"step {progress.step}/{progress.steps}  {_about(progress)}")
            yield progress


def _about(progress: "Progress") -> str:
    valid = "" if progress.psnr_y is None else f"  PSNR-Y {progress.psnr_y:.3f} dB"
    return f"loss {progress.loss:.3e}{valid}  {progress.steps_per_second:.1f} steps/s"
