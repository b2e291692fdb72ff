"""`sr info`: what an image is, what it has been through, which model suits it, and how it was made."""

import json as json_format
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from srcli.cli import console, options
from srcli.errors import ExitCode, UsageError, wrap_exception
from srcli.storage.json_record import to_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from srcli.report.image_report import ImageReport


def info(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Images and folders.", show_default=False)
    ] = None,
    recursive: options.Recursive = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each image, one per line.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, max=2**63 - 1, help="Refuse images with more pixels, as sr upscale does."),
    ] = None,
    devices: Annotated[
        bool, typer.Option("--devices", help="List the devices of this machine instead.")
    ] = False,
) -> int:
    """Print what an image is, which model suits it and why, and how sr made it if it did."""
    from srcli.report.image_report import UnreadableImage, describe_image

    if devices == bool(files):
        raise UsageError("which images?", "name some, or use --devices")
    if devices or files is None:
        return _print_devices()

    is_brief = any(path.is_dir() for path in files)
    files = list(_list_images(files, recursive))
    failed, reports = 0, list["ImageReport"]()
    for path in files:
        try:
            report = describe_image(path, max_pixels)
        except Exception as error:
            failed += 1
            failure = wrap_exception(error, path)
            console.print_error(failure)
            if json:
                _print_json(UnreadableImage(str(path), failure.message))
            continue
        reports.append(report)
        if json:
            _print_json(report.to_json())
        elif is_brief:
            console.out.print(f"{path}  {report.describe_briefly()}", markup=False)
        else:
            _print_report(report)
    if is_brief and not json:
        console.out.print(_describe_total(reports), markup=False)
    if failed:
        return ExitCode.FAILED if failed == len(files) else ExitCode.PARTLY
    return ExitCode.OK


def _list_images(files: list[Path], recursive: bool) -> "Iterator[Path]":
    """Yield files, and the images in folders. Raises `UsageError` for a folder without any."""
    from srcli.batch.planning import list_images

    for path in files:
        if not path.is_dir():
            yield path
            continue
        images = list_images(path, recursive)
        if not images:
            hint = "" if recursive else ", or search subfolders with -r"
            raise UsageError(f"no images in {path}", f"name a folder of image files{hint}")
        yield from images


def _describe_total(reports: "list[ImageReport]") -> str:
    """Return how many images there are, how large, and of which kinds."""
    kinds = Counter(report.kind for report in reports)
    pixels = sum(math.prod(report.info.size) * report.info.frames for report in reports)
    size = sum(report.path.stat().st_size for report in reports)
    counted = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
    images = f"{len(reports)} image{'s' if len(reports) != 1 else ''}"
    megapixels = f"{pixels / 1e6:.1f}" if pixels >= 1e6 else f"{pixels / 1e6:.1g}"
    return f"{images}, {megapixels} megapixels, {decimal(size)}: {counted or 'none readable'}"


def _print_devices() -> int:
    from srcli.engine.slots import describe_devices

    for name, text in describe_devices():
        console.out.print(f"{name}  {text}", markup=False)
    return ExitCode.OK


def _print_json(record: object) -> None:
    """Print one line, so that the objects of several images can be told apart."""
    print(json_format.dumps(to_record(record)), flush=True)  # noqa: T201


def _print_report(report: "ImageReport") -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=None)
    for name, text in report.list_lines():
        table.add_row(Text(name, "bold"), Text(text, overflow="fold"))
    console.out.print(f"{report.path}", markup=False)
    # Wrapped, unlike other results, each of which scripts may want on one line.
    console.out.print(table, soft_wrap=False)
