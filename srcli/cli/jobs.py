"""`sr jobs`: what `sr upscale --job` keeps: how far it is, what failed and why, and all of it as a table."""

import csv
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from srcli.cli import completion, console
from srcli.errors import ExitCode, SrError, UsageError
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

    from srcli.batch.job_store import Counts, Unit

jobs = typer.Typer(
    help="Show the jobs of `sr upscale --job`, retry what failed, export.", invoke_without_command=True
)

Name = Annotated[
    str,
    typer.Argument(
        help="The job: a name as `sr jobs` lists them, or a file.",
        show_default=False,
        autocompletion=completion.jobs,
    ),
]
_SHOWN = 20


@jobs.callback()
def default(context: typer.Context) -> None:
    """Show the jobs of `sr upscale --job`, retry what failed, export."""
    if context.invoked_subcommand is None:
        list_jobs()


@jobs.command("list")
def list_jobs() -> None:
    """List the jobs that have names, and how far they are."""
    from srcli.batch import job_store

    paths = job_store.every()
    for path in paths:
        try:
            with job_store.reading(path) as book:
                running = job_store.is_held(path)
                told = _progress(book.counts(), running)
        except SrError as error:
            console.print_error(error)
        else:
            console.out.print(f"{path.stem}  {told}", markup=False)
    if not paths:
        console.err.print("no jobs; `sr upscale FOLDER -o OUT --job NAME` begins one")


@jobs.command()
def show(
    name: Name,
    every: Annotated[bool, typer.Option("--all", help=f"All that failed, not {_SHOWN} of it.")] = False,
) -> int:
    """Show how far a job is, what it was begun with, and what failed for which reason."""
    from srcli.batch import job_store

    path = job_store.place_of(name)
    with job_store.reading(path) as book:
        counts = book.counts()
        console.out.print(f"{path}\n{_progress(counts, job_store.is_held(path))}", markup=False)
        console.out.print("  ".join(f"{k}={v}" for k, v in book.settings.items()), markup=False)
        for unit in book.units("failed", -1 if every else _SHOWN):
            hint = f" ({unit.hint})" if unit.hint else ""
            console.out.print(_text(f"failed: {unit.source}: {unit.error}{hint}"), markup=False)
    if counts.failed > _SHOWN and not every:
        console.err.print(f"{counts.failed - _SHOWN:,} more failed; --all shows them")
    return ExitCode.PARTLY if counts.failed else ExitCode.OK


@jobs.command()
def retry(name: Name) -> None:
    """Have what failed tried again when the job goes on."""
    from srcli.batch import job_store

    path = _existing(name)
    with job_store.holding(path) as book:
        again = book.retry()
    console.err.print(f"{again:,} to be tried again; the command that began the job goes on with it")


@jobs.command()
def export(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .csv or .json; CSV on stdout by default.")
    ] = None,
    state: Annotated[
        Literal["pending", "running", "done", "failed"] | None, typer.Option(help="Only those.")
    ] = None,
) -> None:
    """Write all that is known of every image."""
    from srcli.batch import job_store

    kind = output.suffix.lower() if output else ".csv"
    if kind not in _WRITERS:
        raise UsageError(f"{output} is neither CSV nor JSON", "name a .csv or a .json with --output")
    with job_store.reading(job_store.place_of(name)) as book, _writable(output) as file:
        _WRITERS[kind](file, book.units(state))


@jobs.command()
def remove(name: Name) -> None:
    """Forget a job; what it has made stays."""
    from srcli.batch import job_store

    path = _existing(name)
    with job_store.holding(path) as book:
        book.close()
        path.unlink()
        Path(f"{path}.lock").unlink(missing_ok=True)
    console.err.print(f"{path} removed; outputs are left as they are", markup=False)


def _existing(name: str) -> Path:
    """The file of a job. Raises `SrError` where there is none that can be read."""
    from srcli.batch import job_store

    path = job_store.place_of(name)
    with job_store.reading(path):
        return path


def _progress(counts: "Counts", running: bool) -> str:
    """As in `1,500 of 2,000 done, 2 failed, 12.5 images/s lately, 40 s to go`."""
    parts = [f"{counts.done:,} of {counts.all:,} done"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [f"{counts.running:,} in hand"] if counts.running else []
    parts += ["running" if running else "stopped"] if counts.left else []
    if counts.per_second:
        parts.append(f"{counts.per_second:.3g} images/s lately")
        parts += [f"{_duration(counts.left / counts.per_second)} to go"] if counts.left else []
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _duration(59), _duration(3601), _duration(200_000)
    ('0:00:59', '1:00:01', '55:33:20')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


@contextmanager
def _writable(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file


def _as_csv(file: TextIO, units: "Iterator[Unit]") -> None:
    from srcli.batch.job_store import Unit

    table = csv.DictWriter(file, list(Unit.__dataclass_fields__), lineterminator="\n")
    table.writeheader()
    table.writerows(_plain(unit) for unit in units)


def _as_json(file: TextIO, units: "Iterator[Unit]") -> None:
    """An array with a line for each."""
    file.write("[")
    for number, unit in enumerate(units):
        file.write(f"{',' if number else ''}\n{json.dumps(_plain(unit))}")
    file.write("\n]\n")


def _plain(unit: "Unit") -> dict[str, object]:
    """With times that people read, and no names that are no text."""
    fields = asdict(unit)
    for key in ("began", "ended"):
        fields[key] = _when(fields[key])
    return {key: _text(value) if isinstance(value, str) else value for key, value in fields.items()}


def _text(name: str) -> str:
    """What can be printed of a name that may be no text."""
    return name.encode("utf-8", "backslashreplace").decode()


def _when(moment: float | None) -> str | None:
    if moment is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


_WRITERS: "dict[str, Callable[[TextIO, Iterator[Unit]], None]]" = {".csv": _as_csv, ".json": _as_json}
