"""`--dry-run`: print what each image of a batch would take, and the total."""

import sys
import time
from dataclasses import asdict, replace

from srcli.batch.dry_run import TaskEstimate, estimate_batch
from srcli.batch.events import Event, ImageFailed, ModelLoaded
from srcli.batch.request import UpscaleRequest
from srcli.cli import console
from srcli.cli.reporters import Reporter, format_duration
from srcli.errors import ExitCode


def print_estimates(request: UpscaleRequest, reporter: Reporter, *, as_json: bool) -> ExitCode:
    """Print a line or a JSON record for each image; lines are followed by the total.

    The first image's time includes the start of a run: what this process took until the model was loaded.
    Returns the exit code of the run as far as it can be known.
    """
    count, failed, seconds, most = 0, 0, 0.0, 0.0
    start = time.process_time()

    def emit(event: Event) -> None:
        nonlocal failed, start
        failed += isinstance(event, ImageFailed)
        if isinstance(event, ModelLoaded) and not count:
            start = time.process_time()
        reporter.emit(event)

    for found in estimate_batch(request, emit):
        each = found if count else _add_seconds(found, start)
        if as_json:
            _print_json(each)
        else:
            console.out.print(_describe(each), markup=False)
        count += 1
        seconds += each.estimate.seconds
        most = max(most, each.estimate.bytes)
    if count > 1 and not as_json:
        console.out.print(f"{count} images: about {format_duration(seconds)}, at most {most / 1e6:.0f} MB")
    if not failed:
        return ExitCode.OK
    return ExitCode.PARTLY if count else ExitCode.FAILED


def _add_seconds(found: TaskEstimate, seconds: float) -> TaskEstimate:
    return replace(found, estimate=replace(found.estimate, seconds=found.estimate.seconds + seconds))


def _print_json(each: TaskEstimate) -> None:
    from srcli.cli.json_reporter import print_record
    from srcli.cli.records import EstimatedImage

    record = EstimatedImage(
        input=str(each.task.source),
        output=str(each.task.target),
        from_=each.input_size,
        to=each.output_size,
        **asdict(each.estimate),
    )
    print_record(sys.stdout, record)


def _describe(each: TaskEstimate) -> str:
    estimate = each.estimate
    sizes = " -> ".join("x".join(map(str, size)) for size in (each.input_size, each.output_size))
    parts = [
        f"{estimate.parameters:,} parameters" if estimate.parameters else "",
        f"{estimate.operations / 1e9:,.1f} GFLOP" if estimate.operations else "",
        f"{estimate.tiles} tile{'s' if estimate.tiles > 1 else ''}" if estimate.tiles else "",
        f"about {format_duration(estimate.seconds)}",
        f"{estimate.bytes / 1e6:.0f} MB" + (", streamed" if estimate.streamed else ""),
    ]
    needs = ", ".join(filter(None, parts))
    return f"{each.task.source} -> {each.task.target}  {sizes}  {estimate.model}: {needs}"
