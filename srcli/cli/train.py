"""`sr train`: train a network on your own images."""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import completion, console, options
from srcli.cli.train_reporter import TrainReporter, format_result
from srcli.errors import ExitCode

if TYPE_CHECKING:
    from srcli.train import Summary

_DATA, _START, _RECIPE, _RUN = "Data", "Where to start", "Recipe", "Run"


@dataclass(frozen=True)
class DataGroup:
    """Images to learn from and to validate on."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of images, searched recursively, or another set as for `sr bench --dataset`; "
            "FOLDER=WEIGHT draws from it more or less often; may be repeated.",
            rich_help_panel=_DATA,
        ),
    ] = None
    valid: Annotated[
        str | None,
        typer.Option(
            help="Images to validate on, as for `sr bench --dataset`; the built-in samples by default.",
            rich_help_panel=_DATA,
        ),
    ] = None
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Accept benchmark images as data.", rich_help_panel=_DATA)
    ] = False
    max_pixels: options.MaxPixelsWhole = None


@dataclass(frozen=True)
class StartGroup:
    """Recipe and weights to start from."""

    preset: Annotated[
        str | None,
        typer.Option(
            help="paper: as published; quick: small steps for a CPU; the default depends on the device.",
            rich_help_panel=_START,
        ),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Fit steps and schedule into this time, such as 8m or 2h.",
            rich_help_panel=_START,
        ),
    ] = None
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Fine-tune these weights, MODEL-xSCALE or a file, by a short form of their own recipe.",
            rich_help_panel=_START,
        ),
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Learn to imitate this model of `sr models`, or weight file; see docs/train.md.",
            rich_help_panel=_START,
        ),
    ] = None
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start the full recipe from a weight file of any scale, as far as its tensors fit.",
            rich_help_panel=_START,
        ),
    ] = None
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Continue the run in this folder; needs nothing else.",
            rich_help_panel=_START,
        ),
    ] = None


@dataclass(frozen=True)
class RecipeGroup:
    """Fields of the recipe that have options of their own."""

    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Optimiser steps; of the first phase, if there are two.", rich_help_panel=_RECIPE
        ),
    ] = None
    batch: Annotated[int | None, typer.Option(min=1, help="Patches per step.", rich_help_panel=_RECIPE)] = (
        None
    )
    patch: Annotated[
        int | None,
        typer.Option(min=8, help="Patch side in pixels of the network's input.", rich_help_panel=_RECIPE),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(help="Weighted sum of losses, such as l1=1,frequency=0.05.", rich_help_panel=_RECIPE),
    ] = None
    degrade: Annotated[
        str | None,
        typer.Option(
            help="How images are downscaled: bicubic, blur,sigma=1.6, second-order ...",
            rich_help_panel=_RECIPE,
        ),
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate.", rich_help_panel=_RECIPE)
    ] = None
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between validations.", rich_help_panel=_RECIPE)
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Seed of the initial weights and the crops.", rich_help_panel=_RECIPE)
    ] = None


@dataclass(frozen=True)
class RunGroup:
    """Options for where and how to run."""

    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for weights, state and log; runs/NETWORK-xSCALE by default.", rich_help_panel=_RUN
        ),
    ] = None
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for TensorBoard too.", rich_help_panel=_RUN)
    ] = False
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that degrade images ahead; by default, with a GPU, one for each idle core.",
            rich_help_panel=_RUN,
        ),
    ] = None
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Processes on this machine, one for each GPU.", rich_help_panel=_RUN),
    ] = None


@options.with_option_groups
def train(
    network: Annotated[
        str | None,
        typer.Argument(
            help="Network to train; --list shows all.", show_default=False, autocompletion=completion.archs
        ),
    ] = None,
    *,
    scale: options.OneScale = 4,
    data: DataGroup,
    start: StartGroup,
    recipe: RecipeGroup,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any field of the recipe, such as rescale_factors=1,0.5; may be repeated.",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    run: RunGroup,
    device: options.Device = None,
    show_list: Annotated[bool, typer.Option("--list", help="List what can be trained, and exit.")] = False,
) -> int:
    """Train a network on a folder of images; after Ctrl-C, --resume FOLDER continues."""
    whole = options.require_whole_scale(scale)
    if show_list:
        _print_recipes(whole)
        return ExitCode.OK
    if run.gpus and "WORLD_SIZE" not in os.environ:
        from srcli.train.parallel import launch

        return launch(run.gpus, sys.argv[1:])
    from srcli import train as training
    from srcli.methods.classical import parse_duration

    request = training.TrainRequest(
        tuple(data.data or ()),
        network,
        whole,
        start.preset,
        start.start_from,
        data.valid,
        run.out,
        asdict(recipe) | {"init": str(start.init) if start.init else None, "teacher": start.teacher},
        tuple(assignments or ()),
        parse_duration(start.time) if start.time else None,
        start.resume,
        data.allow_leak,
        run.tensorboard,
        device,
        run.workers,
        max_pixels=data.max_pixels,
    )
    with console.stop_on_signal() as stopped, TrainReporter() as reporter:
        summary = training.run(request, reporter, stopped.is_set)
    if summary.is_first and not summary.interrupted:
        _report_result(summary)
    return ExitCode.INTERRUPTED if summary.interrupted else ExitCode.OK


def _report_result(summary: "Summary") -> None:
    """Print the result, and describe it in a README.md beside it, as `sr models push` would publish it."""
    weights = summary.weights
    console.out.print(f"{weights}  {format_result(summary)}", markup=False, soft_wrap=True)
    console.err.print(f"to use it: sr upscale IMAGE -w {weights}", markup=False, soft_wrap=True)
    from srcli import archs
    from srcli.engine.weights.checkpoint import read_header
    from srcli.engine.weights.files import read_spec
    from srcli.report.model_card import Card, write_card

    spec = read_spec(weights)
    assert spec is not None
    network = archs.build(spec.arch, spec.scale, spec.config)
    parameters = sum(value.numel() for value in network.parameters())
    write_card(Card(weights, spec, parameters, read_header(weights)))


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
