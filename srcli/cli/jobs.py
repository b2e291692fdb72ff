"""`sr jobs`: the jobs that `sr upscale --job` keeps, their progress, their failures, and a table of each."""

import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from srcli.cli import completion, console
from srcli.errors import ExitCode, SrError, UsageError
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from srcli.batch.job_store import Counts, JobImage
    from srcli.cli.records import ExportedImage

jobs = typer.Typer(
    help="Show, retry, export or remove the jobs of `sr upscale --job`.",
    invoke_without_command=True,
    add_completion=False,
)

Name = Annotated[
    str,
    typer.Argument(
        help="Name of the job, as `sr jobs` lists it, or its file.",
        show_default=False,
        autocompletion=completion.jobs,
    ),
]
_MAX_SHOWN = 20
_LATEST = 253_402_300_800  # seconds from 1970 to the year 10000


@jobs.callback()
def default(context: typer.Context) -> None:
    """Show, retry, export or remove the jobs of `sr upscale --job`."""
    if context.invoked_subcommand is None:
        list_jobs()


@jobs.command("list")
def list_jobs() -> None:
    """List the named jobs and their progress."""
    from srcli.batch import job_store

    paths = job_store.list_paths()
    for path in paths:
        try:
            with job_store.open_for_reading(path) as store:
                progress = _describe_progress(store.count(), job_store.is_locked(path))
        except SrError as error:
            console.print_error(error)
        else:
            console.out.print(f"{path.stem}  {progress}", markup=False)
    if not paths:
        console.err.print("no jobs; `sr upscale FOLDER -o OUT --job NAME` starts one")


@jobs.command()
def show(
    name: Name,
    every: Annotated[bool, typer.Option("--all", help=f"Show all failures, not only {_MAX_SHOWN}.")] = False,
) -> int:
    """Show the progress of a job, its settings, and which images failed and why."""
    from srcli.batch import job_store

    path = job_store.find_path(name)
    with job_store.open_for_reading(path) as store:
        counts = store.count()
        progress = _describe_progress(counts, job_store.is_locked(path))
        console.out.print(f"{path}", markup=False)
        console.out.print(progress, markup=False)
        console.out.print("  ".join(f"{key}={value}" for key, value in store.settings.items()), markup=False)
        for image in store.iterate_images("failed", -1 if every else _MAX_SHOWN):
            hint = f" ({image.hint})" if image.hint else ""
            console.out.print(_as_text(f"failed: {image.source}: {image.error}{hint}"), markup=False)
    if counts.failed > _MAX_SHOWN and not every:
        console.err.print(f"{counts.failed - _MAX_SHOWN:,} more failed; --all shows them")
    return ExitCode.PARTLY if counts.failed else ExitCode.OK


@jobs.command()
def retry(
    name: Name,
    missing: Annotated[
        bool, typer.Option("--missing", help="Mark images whose output was deleted instead.")
    ] = False,
) -> None:
    """Mark failed images for another try in the next run."""
    from srcli.batch import job_store

    path = _find_existing(name)
    with job_store.open_locked(path) as store:
        count = store.retry_missing() if missing else store.retry_failed()
    console.err.print(f"{count:,} images marked; the command that started the job tries them again")


@jobs.command()
def export(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv or .json file; CSV on stdout by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Export JSON; to stdout without --output.")] = False,
    state: Annotated[
        Literal["pending", "running", "done", "failed"] | None,
        typer.Option(help="Export only images in this state."),
    ] = None,
) -> None:
    """Export a table of all images of a job."""
    from srcli.batch import job_store

    kind = ".json" if as_json else output.suffix.lower() if output else ".csv"
    if kind not in _WRITERS:
        raise UsageError(f"{output} is neither CSV nor JSON", "choose an --output that ends in .csv or .json")
    with job_store.open_for_reading(job_store.find_path(name)) as store, _open_output(output) as file:
        _WRITERS[kind](file, store.iterate_images(state))


@jobs.command()
def remove(name: Name) -> None:
    """Remove a job; its outputs are kept."""
    from srcli.batch import job_store

    path = _find_existing(name)
    with job_store.open_locked(path) as store:
        store.close()
        path.unlink()
        Path(f"{path}.lock").unlink(missing_ok=True)
    console.err.print(f"{path} removed; outputs are kept", markup=False)


def _find_existing(name: str) -> Path:
    """Return the file of a job. Raises `SrError` if it is missing or unreadable."""
    from srcli.batch import job_store

    path = job_store.find_path(name)
    with job_store.open_for_reading(path):
        return path


def _describe_progress(counts: "Counts", is_running: bool) -> str:
    """Return a line such as `1,500 of 2,000 done, 2 failed, running, 12.5 images/s, 0:00:40 left`."""
    parts = [f"{counts.done:,} of {counts.total:,} done"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [f"{counts.running:,} in progress"] if counts.running else []
    parts += ["running" if is_running else "stopped"] if counts.remaining else []
    if counts.per_second:
        parts.append(f"{counts.per_second:.3g} images/s")
        left = counts.remaining / counts.per_second
        parts += [f"{_format_hours(left)} left"] if counts.remaining else []
    return ", ".join(parts)


def _format_hours(seconds: float) -> str:
    """Return hours, minutes and seconds.

    >>> _format_hours(59), _format_hours(3601), _format_hours(200_000)
    ('0:00:59', '1:00:01', '55:33:20')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


@contextmanager
def _open_output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


def _write_csv(file: TextIO, images: "Iterator[JobImage]") -> None:
    from srcli.cli.records import ExportedImage
    from srcli.storage.spreadsheet import defuse_row

    table = csv.DictWriter(file, [field.name for field in fields(ExportedImage)], lineterminator="\n")
    table.writeheader()
    table.writerows(defuse_row(asdict(_as_record(image))) for image in images)


def _write_json(file: TextIO, images: "Iterator[JobImage]") -> None:
    """Write an array with one line per image."""
    from srcli.storage.json_record import to_record

    file.write("[")
    for number, image in enumerate(images):
        file.write(f"{',' if number else ''}\n{json.dumps(to_record(_as_record(image)))}")
    file.write("\n]\n")


def _as_record(image: "JobImage") -> "ExportedImage":
    """Return an image with readable times and printable names."""
    from srcli.cli.records import ExportedImage

    values: dict[str, Any] = asdict(image)
    values |= {key: _format_time(values[key]) for key in ("started", "finished")}
    values |= {key: _as_text(value) for key, value in values.items() if isinstance(value, str)}
    return ExportedImage(**values)


def _as_text(name: str) -> str:
    """Return a name in printable form; file names need not be valid text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _format_time(seconds: float | None) -> str | None:
    if seconds is None or not 0 <= seconds < _LATEST:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


_WRITERS: "dict[str, Callable[[TextIO, Iterator[JobImage]], None]]" = {
    ".csv": _write_csv,
    ".json": _write_json,
}
