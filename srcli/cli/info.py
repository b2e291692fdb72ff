"""`sr info`: what an image is, what it has been through, which model suits it, and how it was made."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from srcli.cli import console
from srcli.errors import ExitCode, UsageError, wrap_exception

if TYPE_CHECKING:
    from srcli.report.image_report import ImageReport


def info(
    files: Annotated[list[Path] | None, typer.Argument(help="Images.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each image.")] = False,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse images with more pixels, as sr upscale does.")
    ] = None,
    devices: Annotated[
        bool, typer.Option("--devices", help="List the devices of this machine instead.")
    ] = False,
) -> int:
    """Print what an image is, which model suits it and why, and how sr made it if it did."""
    from srcli.report.image_report import describe_image

    if devices == bool(files):
        raise UsageError("which images?", "name some, or use --devices")
    if devices or files is None:
        return _print_devices()

    failed = 0
    for path in files:
        try:
            report = describe_image(path, max_pixels)
        except Exception as error:
            failed += 1
            failure = wrap_exception(error, path)
            console.print_error(failure)
            if json:
                console.out.print_json(
                    json_format.dumps({"file": str(path), "error": failure.message}), ensure_ascii=True
                )
            continue
        if json:
            console.out.print_json(json_format.dumps(report.to_dict()), ensure_ascii=True)
        else:
            _print_report(report)
    if failed:
        return ExitCode.FAILED if failed == len(files) else ExitCode.PARTLY
    return ExitCode.OK


def _print_devices() -> int:
    from srcli.engine.slots import describe_devices

    for name, text in describe_devices():
        console.out.print(f"{name}  {text}", markup=False)
    return ExitCode.OK


def _print_report(report: "ImageReport") -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=None)
    for name, text in report.list_lines():
        table.add_row(Text(name, "bold"), Text(text, overflow="fold"))
    console.out.print(f"{report.path}", markup=False)
    # Wrapped, unlike other results, each of which scripts may want on one line.
    console.out.print(table, soft_wrap=False)
