"""Images that take long: said before they start, and confirmed if somebody is at the terminal."""

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import typer

from srcli.batch.events import Event, Preparation
from srcli.batch.request import UpscaleRequest
from srcli.cli import console
from srcli.cli.terminal import can_ask
from srcli.errors import SrError

# Output pixels: x4 of a photograph of 4 megapixels.
_LARGE = 64_000_000
_LONG = 60.0  # seconds


def confirm_large(request: UpscaleRequest, *, is_silent: bool) -> None:
    """Print what the largest of a few local images takes, if it is much, and ask where that is possible.

    Raises `typer.Abort` if the answer is no. What cannot be read or estimated is left to the run.
    """
    source = None if is_silent else _find_largest(request)
    if source is None:
        return
    from srcli.batch.dry_run import estimate_batch
    from srcli.cli.reporters import format_duration

    policy = replace(request.policy, job=None, watch=False, within=None)
    alone = replace(request, inputs=(source,), policy=policy)
    try:
        found = next(iter(estimate_batch(alone, _print_trial, count_operations=False)), None)
    except SrError:
        return
    if found is None or found.estimate.seconds < _LONG:
        return
    width, height = found.output_size
    took = format_duration(found.estimate.seconds)
    advice = "--long-edge 8000 or -x2 for less" if request.size.scale != 2 else "--long-edge 8000 for less"
    console.err.print(f"{source}: {width}x{height}, about {took}; {advice}", markup=False)
    if can_ask() and not typer.confirm("Continue?", default=True, err=True):
        raise typer.Abort


def _print_trial(event: Event) -> None:
    match event:
        case Preparation(text, None):
            console.err.print(f"{text} ...", markup=False)


def _find_largest(request: UpscaleRequest) -> Path | None:
    """Return the named file with the largest output, if that is large; folders may be anything."""
    from srcli.imaging.codecs.reading import read_info

    sizes: dict[Path, int] = {}
    for source in request.locations:
        # A damaged file, a name that is too long, or a size that makes no sense: the run reports it.
        with suppress(Exception):
            if isinstance(source, Path) and source.is_file():
                sizes[source] = math.prod(request.size.resolve(read_info(source).size))
    largest = max(sizes, key=lambda source: sizes[source], default=None)
    return largest if largest and sizes[largest] >= _LARGE else None
