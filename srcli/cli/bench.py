"""`sr bench`: how well methods do on data sets, next to the interpolators, as tables that one can print."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import completion, console, options, untrained
from srcli.cli.ratings import show_ratings
from srcli.engine.tiles import DEFAULT_TILE
from srcli.errors import DatasetError, ExitCode, SrError, UsageError
from srcli.manifest import DEFAULT_MODEL
from srcli.scales import simplify_scale
from srcli.storage.files import check_can_write

if TYPE_CHECKING:
    from srcli.bench.plan import Plan, Unit
    from srcli.bench.results import Failure, Results
    from srcli.bench.work import Scored
    from srcli.report.table import Show
    from srcli.workers.config import PoolConfig

_BASELINES = ("nearest", "bilinear", "bicubic")
_WHAT, _HOW, _TABLE, _FILES = "What is measured", "How", "What tables show", "What is written"


def bench(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of ratings, with --ratings.", show_default=False)
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Set5, Set14, BSD100, Urban100, samples, FOLDER, URL or NAME=FOLDER; ,lr=FOLDER behind it "
            "for low resolution of its own; may repeat.",
            rich_help_panel=_WHAT,
            autocompletion=completion.datasets,
        ),
    ] = None,
    scale: options.Scales = [4],  # noqa: B006 (Typer copies it)
    model: options.Models = None,
    weights: options.Weights = None,
    protocol: Annotated[
        str, typer.Option(help="y-crop (the papers'), rgb-crop or pil.", rich_help_panel=_HOW)
    ] = "y-crop",
    degrade: Annotated[
        str,
        typer.Option(
            help="Low resolution not by the protocol: blur,sigma=1.6, noise, jpeg, camera:kernel.npy, "
            "second-order ...",
            rich_help_panel=_HOW,
        ),
    ] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Besides PSNR and SSIM: mse, psnr, ssim, ms-ssim (or any with -y, -rgb), niqe, "
            "lr-consistency, sharpness, all; lpips, dists ... by pyiqa; may repeat.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    costs: Annotated[
        bool,
        typer.Option("--costs", help="Multiply-adds and peak memory for 1280x720.", rich_help_panel=_TABLE),
    ] = False,
    published: Annotated[
        bool,
        typer.Option("--published", help="What papers print, and the difference.", rich_help_panel=_TABLE),
    ] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="95 % intervals, and who can't be told apart.", rich_help_panel=_TABLE),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Rows and scores of images; --from reads it.", rich_help_panel=_FILES),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="The rows.", rich_help_panel=_FILES)] = None,
    latex: Annotated[Path | None, typer.Option(help="Tables for a paper.", rich_help_panel=_FILES)] = None,
    html: Annotated[
        Path | None, typer.Option(help="A page with everything in it.", rich_help_panel=_FILES)
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Plots as SVG.", rich_help_panel=_FILES)
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables.", rich_help_panel=_FILES)
    ] = False,
    save_lr: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the low-resolution images.", rich_help_panel=_FILES),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the enlarged images.", rich_help_panel=_FILES)
    ] = None,
    from_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Measure nothing: a table of what --json wrote; may repeat.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes side by side; several GPUs are shared.", rich_help_panel=_HOW),
    ] = None,
    ray: options.Ray = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Don't go on with a run that was stopped.", rich_help_panel=_HOW),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out images that can't be read.", rich_help_panel=_HOW)
    ] = False,
    ratings: Annotated[
        bool,
        typer.Option(
            "--ratings",
            help="Measure nothing: sum up what pages of `sr compare --rate` saved, FILES.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    device: options.Devices = None,
    runtime: options.Runtime = "auto",
    tile: options.Tile = DEFAULT_TILE,
    self_ensemble: options.SelfEnsemble = False,
    seed: options.Seed = 0,
    within: options.Within = None,
    kernel: options.BlurKernel = None,
) -> int:
    """Score methods on images; nearest, bilinear and bicubic are always in the table.

    A run that is stopped goes on where it was when the same command is given again.
    """
    from srcli.report.table import Show

    for place in filter(None, (json_file, csv_file, latex, html, plots, save_lr, save)):
        check_can_write(place)
    if ratings or files:
        show_ratings(files or [], ratings, json_file)
        return ExitCode.OK
    if from_files:
        _check_alone(dataset, model, weights)
        results = _read(from_files)
    else:
        from srcli import datasets
        from srcli.bench import lineup, protocols
        from srcli.bench.plan import Plan
        from srcli.engine.slots import listed, team
        from srcli.methods import MethodOptions

        named = model or ([] if weights else [DEFAULT_MODEL])
        alone = untrained.settings(named, seed, within, kernel)
        first = next(iter(listed(device)), None)  # here methods are described; workers have their own
        settings = MethodOptions(first, tile, self_ensemble, runtime=runtime, untrained=alone)
        reduction = protocols.Reduction(protocols.find(protocol), degrade, seed)
        reduction.check(scale)
        plan = Plan(
            tuple(datasets.find_dataset(name) for name in dict.fromkeys(dataset or ["samples"])),
            tuple(dict.fromkeys(map(simplify_scale, scale))),
            lineup.enter([*_BASELINES, *named], weights or [], settings),
            reduction,
            tuple(metric or ()),
            save_lr,
            save,
        )
        by = team(device, workers, ray, sum(1 for _ in plan.units()))
        results = _measured(plan, by, keep=not fresh, keep_going=keep_going, costs=costs)
    show = Show(published, stats)
    _print(results, show, markdown)
    _write(results, show, {"json": json_file, "csv": csv_file, "latex": latex, "html": html}, plots)
    return ExitCode.PARTLY if results.failures and not from_files else ExitCode.OK


def _check_alone(*others: object) -> None:
    if any(others):
        raise UsageError("--from measures nothing", "leave out --dataset, --model and --weights")


def _read(files: list[Path]) -> "Results":
    """The results of several runs as one; each run is called after its file."""
    from srcli.bench.results import merged, read

    stems = Counter(file.stem for file in files)
    named = {file.stem if stems[file.stem] == 1 else str(file): read(file) for file in files}
    return merged(named)


def _measured(plan: "Plan", by: "PoolConfig", *, keep: bool, keep_going: bool, costs: bool) -> "Results":
    """The bench itself, told about as it goes."""
    from srcli.bench.costs import with_costs
    from srcli.bench.measure import kept_scores, run
    from srcli.bench.plan import check

    for note in plan.field.check(plan.scales):
        console.err.print(note, markup=False)
    with console.make_progress_bar() as bar:
        images = bar.add_task("looking at images", total=sum(1 for _ in plan.units()))
        units, lost = check(plan, lambda: bar.update(images, advance=1))
    _tell_lost(lost, units, keep_going)
    kept = kept_scores(plan, units) if keep else 0
    if kept:
        console.err.print(f"going on with {kept} scores of a run that was stopped; --fresh begins anew")
    _tell_taken(plan)
    total = sum(len(plan.field.at(unit.scale)) for unit in units)
    with console.make_progress_bar() as bar:
        task = bar.add_task("scoring", total=total)

        def tell(score: "Scored") -> None:
            bar.update(task, advance=1, description=f"{score.dataset} x{score.scale:g}")

        try:
            results = run(plan, tell, by, keep, units)
        except KeyboardInterrupt:
            if keep:
                console.err.print("stopped; the same command goes on from here")
            raise
        if costs:
            bar.update(task, description="costs")
            results = with_costs(results, plan.field)
    for failure in results.failures:
        place = f"{failure.image} of {failure.dataset} x{failure.scale}, {failure.method}"
        console.print_error(SrError(f"{place}: {failure.reason}"))
    if not results.rows:
        raise SrError("nothing could be scored", "the lines above say why")
    return replace(results, failures=(*lost, *results.failures))


def _tell_taken(plan: "Plan") -> None:
    """Say what weight files without a header were taken for."""
    from srcli.bench.lineup import described

    taken = {about.name: about.taken_for for scale in plan.scales for about in described(plan.field, scale)}
    for name, what in taken.items():
        if what:
            console.err.print(f"{name}: taken for {what}", markup=False)


def _tell_lost(lost: "list[Failure]", units: "list[Unit]", keep_going: bool) -> None:
    """Name images that can't be read; raise `DatasetError` unless they may be left out."""
    reasons = list(dict.fromkeys(failure.reason for failure in lost))
    if lost and not (keep_going and units):
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        hint = "mend or remove it, or leave such images out by --keep-going"
        raise DatasetError(f"{reasons[0]}{more}", hint)
    for reason in reasons:
        console.print_error(SrError(reason))


def _print(results: "Results", show: "Show", markdown: bool) -> None:
    from srcli.report import formatters

    if markdown:
        console.out.print(formatters.markdown(results, show), markup=False)
    else:
        width = console.out.width
        console.out.print(formatters.terminal(results, show, width))


def _write(results: "Results", show: "Show", places: "dict[str, Path | None]", plots: Path | None) -> None:
    from srcli.report import bench_page, formatters

    renderers = {
        "json": formatters.to_json,
        "csv": formatters.to_csv,
        "latex": formatters.latex,
        "html": bench_page.page,
    }
    for kind, path in places.items():
        if path:
            console.save_text(path, renderers[kind](results, show))
    if plots:
        from srcli.report import plots as drawn

        for path in drawn.write_all(results, plots):
            console.err.print(f"{path}", markup=False)
