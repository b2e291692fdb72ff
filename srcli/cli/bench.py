"""`sr bench`: score methods on data sets next to the interpolators, and print the tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import completion, console, options
from srcli.cli.bench_reporter import BenchReporter
from srcli.cli.ratings import print_ratings
from srcli.cli.stage_bar import StageBar
from srcli.errors import ExitCode, UsageError
from srcli.storage.files import check_can_write

if TYPE_CHECKING:
    from srcli.bench import Results
    from srcli.report.table import TableOptions

_SUBJECT, _RUN, _TABLE, _FILES = "What to measure", "Run", "Tables", "Output files"


@dataclass(frozen=True)
class SourceGroup:
    """Data sets to measure on, or files to read instead."""

    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Set5, Set14, BSD100, Urban100, samples, FOLDER, URL or NAME=FOLDER; append ,lr=FOLDER for "
            "your own low-resolution images; may be repeated.",
            rich_help_panel=_SUBJECT,
            autocompletion=completion.datasets,
        ),
    ] = None
    from_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Measure nothing; make tables from files of --json; may be repeated.",
            rich_help_panel=_SUBJECT,
        ),
    ] = None
    ratings: Annotated[
        bool,
        typer.Option(
            "--ratings",
            help="Measure nothing; summarise FILES that pages of `sr compare --rate` saved.",
            rich_help_panel=_SUBJECT,
        ),
    ] = False


@dataclass(frozen=True)
class MeasurementGroup:
    """The protocol and the metrics."""

    protocol: Annotated[
        str, typer.Option(help="y-crop (as in papers), rgb-crop or pil.", rich_help_panel=_SUBJECT)
    ] = "y-crop"
    degrade: Annotated[
        str,
        typer.Option(
            help="Make low resolution in another way: blur,sigma=1.6, noise, jpeg, camera:kernel.npy, "
            "second-order ...",
            rich_help_panel=_SUBJECT,
        ),
    ] = ""
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="In addition to PSNR and SSIM: mse, psnr, ssim, ms-ssim (also with -y or -rgb), niqe, "
            "lr-consistency, sharpness, all; lpips, dists ... with pyiqa; may be repeated.",
            rich_help_panel=_SUBJECT,
        ),
    ] = None
    costs: Annotated[
        bool,
        typer.Option(
            "--costs", help="Multiply-adds and peak memory for an output of 1280x720.", rich_help_panel=_TABLE
        ),
    ] = False


@dataclass(frozen=True)
class TableGroup:
    """Contents and format of the tables."""

    published: Annotated[
        bool,
        typer.Option("--published", help="Published scores, and the difference.", rich_help_panel=_TABLE),
    ] = False
    stats: Annotated[
        bool,
        typer.Option(
            "--stats", help="95 % intervals, and which differences are significant.", rich_help_panel=_TABLE
        ),
    ] = False
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables.", rich_help_panel=_TABLE)
    ] = False


@dataclass(frozen=True)
class FilesGroup:
    """Files to write."""

    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Rows and scores of all images, for --from.", rich_help_panel=_FILES),
    ] = None
    csv_file: Annotated[Path | None, typer.Option("--csv", help="The rows.", rich_help_panel=_FILES)] = None
    latex: Annotated[Path | None, typer.Option(help="Tables for a paper.", rich_help_panel=_FILES)] = None
    html: Annotated[
        Path | None, typer.Option(help="One page with tables, plots and scores.", rich_help_panel=_FILES)
    ] = None
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Plots as SVG.", rich_help_panel=_FILES)
    ] = None
    save_lr: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the low-resolution images.", rich_help_panel=_FILES),
    ] = None
    save: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the upscaled images.", rich_help_panel=_FILES)
    ] = None


@dataclass(frozen=True)
class FaultGroup:
    """Handling of an interrupted run and of unreadable images."""

    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start over instead of resuming.", rich_help_panel=_RUN),
    ] = False
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out images that cannot be read.", rich_help_panel=_RUN)
    ] = False


@options.with_option_groups
def bench(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of ratings, with --ratings.", show_default=False)
    ] = None,
    *,
    source: SourceGroup,
    scale: options.Scales = [4],  # noqa: B006 (Typer copies it)
    lineup: options.LineupGroup,
    measurement: MeasurementGroup,
    tables: TableGroup,
    outputs: FilesGroup,
    workers: options.WorkersGroup,
    faults: FaultGroup,
    engine: options.EngineGroup,
    training_free: options.UntrainedGroup,
) -> int:
    """Score methods on images, always next to nearest, bilinear and bicubic.

    An interrupted run is resumed by the same command.
    """
    from srcli import bench as benchmarks
    from srcli.bench.results import read_runs
    from srcli.methods import MethodOptions
    from srcli.report.result_files import ResultFiles, write_results
    from srcli.report.table import TableOptions

    _check_outputs(outputs)
    if files or source.ratings:
        print_ratings(files or [], source.ratings, outputs.json_file)
        return ExitCode.OK
    if source.from_files:
        _check_only_from(source, lineup)
        results = read_runs(source.from_files)
    else:
        seed, models = training_free.seed, tuple(lineup.model or ())
        settings = training_free.build_settings(models)
        request = benchmarks.BenchRequest(
            tuple(source.dataset or ["samples"]),
            tuple(scale),
            models,
            tuple(lineup.weights or ()),
            benchmarks.Measurement(
                measurement.protocol,
                tuple(measurement.metric or ()),
                measurement.costs,
                measurement.degrade,
                seed,
            ),
            benchmarks.Execution(
                workers.device, workers.workers, workers.ray, not faults.fresh, faults.keep_going
            ),
            MethodOptions(
                None, engine.tile, engine.self_ensemble, runtime=engine.runtime, untrained=settings
            ),
            outputs.save_lr,
            outputs.save,
        )
        with StageBar() as bar:
            results = benchmarks.run(request, BenchReporter(bar))
    shown = TableOptions(tables.published, tables.stats)
    _print_tables(results, shown, tables.markdown)
    targets = ResultFiles(outputs.json_file, outputs.csv_file, outputs.latex, outputs.html, outputs.plots)
    for path in write_results(results, shown, targets):
        console.err.print(f"{path}", markup=False)
    return ExitCode.PARTLY if results.failures and not source.from_files else ExitCode.OK


def _check_outputs(outputs: FilesGroup) -> None:
    """Raise `FileError` now, not after hours of work, if an output cannot be written."""
    for path in vars(outputs).values():
        if path:
            check_can_write(path)


def _check_only_from(source: SourceGroup, lineup: options.LineupGroup) -> None:
    if source.dataset or lineup.model or lineup.weights:
        raise UsageError("--from measures nothing", "leave out --dataset, --model and --weights")


def _print_tables(results: "Results", shown: "TableOptions", markdown: bool) -> None:
    from srcli.report import formatters

    if markdown:
        console.out.print(formatters.format_markdown(results, shown), markup=False)
    else:
        console.out.print(formatters.format_terminal(results, shown, console.out.width))
