"""`sr doctor`: what is installed, what works and how fast, for a user in doubt or a bug report."""

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from srcli.cli import console
from srcli.errors import ExitCode
from srcli.storage.json_record import to_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from srcli.report.doctor import Diagnosis, RuntimeState


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Print versions, devices, runtimes and their speed, caches, and missing extras."""
    from srcli.report.doctor import diagnose

    if sys.stderr.isatty():
        console.err.print("trying every runtime ...", markup=False)
    found = diagnose()
    if json:
        console.out.print_json(json_format.dumps(to_record(found)), ensure_ascii=True)
    else:
        for line in list_lines(found):
            console.out.print(line, markup=False)
    return ExitCode.OK if found.works else ExitCode.FAILED


def list_lines(found: "Diagnosis") -> "Iterator[str]":
    """Yield the lines of a report; long ones are left to the terminal, so that they can be copied."""
    yield f"sr {found.version}, Python {found.python}, {found.system}"
    yield "packages: " + ", ".join(
        f"{name} {version or 'missing'}" for name, version in found.packages.items()
    )
    for name, text in found.devices.items():
        yield f"device {name}: {text}"
    yield from map(_describe_runtime, found.runtimes)
    for folder in found.folders:
        yield f"{folder.name}: {decimal(folder.bytes)} in {folder.path}"
    answer = (
        "answers" if found.hub_answers else "does not answer; `sr models add FILE` takes weights from a file"
    )
    yield f"Hugging Face Hub: {found.hub} {answer}"
    for extra, packages in found.extras.items():
        yield f"not installed: {', '.join(packages)}; pip install 'sr-cli[{extra}]'"


def _describe_runtime(runtime: "RuntimeState") -> str:
    if runtime.problem:
        return f"runtime {runtime.name}: does not work: {runtime.problem}"
    where = runtime.where.partition(", by ")[0]
    return f"runtime {runtime.name}: {runtime.megapixels_per_second:.2f} megapixels/s on {where}"
