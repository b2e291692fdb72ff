"""`sr upscale`: files, folders, patterns or stdin in, upscaled files out."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import console, habits, options, pipes
from srcli.cli.reporters import ConsoleReporter, Reporter
from srcli.errors import UsageError

if TYPE_CHECKING:
    from srcli.cli.pipes import PipeFiles


@options.with_option_groups
def upscale(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders, patterns, URLs (https://..., s3://bucket/folder), or - for stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    size: options.SizeGroup,
    model: options.ModelGroup,
    naming: options.NamingGroup,
    encoding: options.EncodingGroup,
    batch: options.BatchGroup,
    report: options.ReportGroup,
    workers: options.WorkersGroup,
    engine: options.EngineGroup,
    memory: options.MemoryGroup,
    postprocess: options.PostprocessGroup,
    untrained: options.UpscaleUntrainedGroup,
    is_dry_run: options.DryRun = False,
) -> None:
    """Upscale images with a network, an interpolator or another method."""
    from srcli import batch as batches
    from srcli.batch.request import UpscaleRequest
    from srcli.cli.large_images import confirm_large
    from srcli.imaging.codecs.registry import find_suffix

    names = [*(inputs or []), *pipes.read_names(batch.files_from, by_null=batch.null)]
    _check_pipes(names, naming, batch, workers)
    habits.check_no_output_among(names, naming.output)
    suffix = find_suffix(encoding.format_) if encoding.format_ else None
    with (
        pipes.download_inputs(names, naming.output) as (names, output),
        pipes.replace_pipes(names, output, suffix) as files,
        console.terminate_as_interrupt(),
        console.stop_on_signal() if batch.watch else nullcontext() as stopped,
    ):
        choice = model.build()
        request = UpscaleRequest(
            files.inputs,
            size.build(choice),
            choice,
            naming.build(files.output, encoding.format_),
            encoding.build(),
            postprocess.build(),
            memory.build(workers, engine),
            untrained.build(),
            batch.build(untrained.within),
        )
        with _make_reporter(report, files, has_bar=not is_dry_run) as reporter:
            if is_dry_run:
                from srcli.cli.dry_run import print_estimates

                raise typer.Exit(print_estimates(request, reporter, as_json=report.json))
            confirm_large(request, is_silent=report.quiet or report.json or files.uses_stdout)
            summary = batches.run(request, reporter.emit, stopped.is_set if stopped else lambda: False)
    raise typer.Exit(summary.exit_code)


def _check_pipes(
    names: list[str],
    naming: options.NamingGroup,
    batch: options.BatchGroup,
    workers: options.WorkersGroup,
) -> None:
    """Raise `UsageError` for stdin or stdout with options that need files."""
    exclusive = {
        "--job": batch.job,
        "--watch": batch.watch,
        "--ray": workers.ray,
        "--in-place": naming.in_place,
    }
    pipes.check_no_pipes(names, naming.output, exclusive)


def _make_reporter(report: options.ReportGroup, files: "PipeFiles", *, has_bar: bool) -> Reporter:
    if report.json and files.uses_stdout:
        raise UsageError("--json cannot be used if the image goes to stdout", "name a file with --output")
    if report.json:
        from srcli.cli.json_reporter import JsonReporter

        return JsonReporter(files.names)
    verbosity = 0 if report.quiet else 2 if report.verbose else 1
    return ConsoleReporter(verbosity, files.uses_stdout, files.names, has_bar)
