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
    from srcli.bench import Execution, Measurement, Results
    from srcli.report.result_files import ResultFiles
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
            help="Set5, Set14, BSD100, Urban100, samples, FOLDER, 'PATTERN', URL or NAME=FOLDER; append "
            ",lr=FOLDER for your own low-resolution images; may be repeated.",
            rich_help_panel=_SUBJECT,
            autocompletion=completion.datasets,
        ),
    ] = None
    from_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Make tables from files written by --json, without measuring; may be repeated.",
            rich_help_panel=_SUBJECT,
        ),
    ] = None
    ratings: Annotated[
        bool,
        typer.Option(
            "--ratings",
            help="Summarise FILES of ratings saved by pages of `sr compare --rate`, without measuring.",
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
            help="Degradation that makes the low-resolution images: blur,sigma=1.6, noise, jpeg, "
            "camera:kernel.npy, second-order ...",
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
            "--costs",
            help="Add multiply-adds and peak memory for an output of 1280x720.",
            rich_help_panel=_TABLE,
        ),
    ] = False

    def build(self, seed: int) -> "Measurement":
        """Return the measurement for a request."""
        from srcli.bench import Measurement

        return Measurement(self.protocol, tuple(self.metric or ()), self.costs, self.degrade, seed)


@dataclass(frozen=True)
class TableGroup:
    """Contents and format of the tables."""

    published: Annotated[
        bool,
        typer.Option("--published", help="Add published scores, and the difference.", rich_help_panel=_TABLE),
    ] = False
    stats: Annotated[
        bool,
        typer.Option(
            "--stats",
            help="Add 95 % intervals, and which differences are significant.",
            rich_help_panel=_TABLE,
        ),
    ] = False
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables.", rich_help_panel=_TABLE)
    ] = False

    def build(self) -> "TableOptions":
        """Return the contents of tables."""
        from srcli.report.table import TableOptions

        return TableOptions(self.published, self.stats)


@dataclass(frozen=True)
class FilesGroup:
    """Files to write."""

    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Rows and scores of all images, for --from; - for stdout instead of the tables.",
            rich_help_panel=_FILES,
        ),
    ] = None
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="The rows; - for stdout.", rich_help_panel=_FILES)
    ] = None
    latex: Annotated[
        Path | None, typer.Option(help="Tables for a paper; - for stdout.", rich_help_panel=_FILES)
    ] = None
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

    @property
    def uses_stdout(self) -> bool:
        """True if a file goes to stdout, where tables are not printed then."""
        return Path("-") in (self.json_file, self.csv_file, self.latex)

    def build(self) -> "ResultFiles":
        """Return the files for results. Raises `FileError` now, not after hours, if one cannot be written."""
        from srcli.report.result_files import STDOUT, ResultFiles

        for path in vars(self).values():
            if path and path != STDOUT:
                check_can_write(path)
        if STDOUT in (self.html, self.plots):
            raise UsageError("only --json, --csv and --latex can go to stdout", "name a file")
        if (self.json_file, self.csv_file, self.latex).count(STDOUT) > 1:
            raise UsageError("only one format can go to stdout", "name files for the others")
        return ResultFiles(self.json_file, self.csv_file, self.latex, self.html, self.plots)


@dataclass(frozen=True)
class FaultGroup:
    """Handling of an interrupted run, and of unreadable and huge images."""

    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start over instead of resuming.", rich_help_panel=_RUN),
    ] = False
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out images that cannot be read.", rich_help_panel=_RUN)
    ] = False

    max_pixels: options.MaxPixelsWhole = None

    def build(self, workers: options.WorkersGroup) -> "Execution":
        """Return the execution for a request."""
        from srcli.bench import Execution

        return Execution(
            workers.device, workers.workers, workers.ray, not self.fresh, self.keep_going, self.max_pixels
        )


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
    from srcli.report.result_files import write_results

    result_files = outputs.build()
    if outputs.json_file == Path("-") and source.ratings:
        raise UsageError("--ratings cannot write to stdout", "name a file with --json")
    if files or source.ratings:
        print_ratings(files or [], source.ratings, outputs.json_file)
        return ExitCode.OK
    if source.from_files:
        _check_only_from(source, lineup)
        results = read_runs(source.from_files)
    else:
        models = lineup.list_models()
        request = benchmarks.BenchRequest(
            tuple(source.dataset or ["samples"]),
            tuple(scale),
            models,
            tuple(lineup.weights or ()),
            measurement.build(training_free.seed),
            faults.build(workers),
            engine.build(training_free.build_settings(models)),
            outputs.save_lr,
            outputs.save,
        )
        with StageBar() as bar:
            results = benchmarks.run(request, BenchReporter(bar))
    if not outputs.uses_stdout:
        _print_tables(results, tables.build(), tables.markdown)
    for path in write_results(results, tables.build(), result_files):
        console.err.print(f"{path}", markup=False)
    return ExitCode.PARTLY if results.failures and not source.from_files else ExitCode.OK


def _check_only_from(source: SourceGroup, lineup: options.LineupGroup) -> None:
    if source.dataset or lineup.model or lineup.weights:
        raise UsageError("--from does not measure", "leave out --dataset, --model and --weights")


def _print_tables(results: "Results", shown: "TableOptions", markdown: bool) -> None:
    from srcli.report import formatters

    if markdown:
        console.print_lines(formatters.format_markdown(results, shown))
    else:
        console.out.print(formatters.format_terminal(results, shown, console.out.width))
