"""`sr info`: what an image is, what it has been through, which model suits it, and how it was made."""

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from srcli.cli import console
from srcli.errors import ExitCode, SrError
from srcli.manifest import DEFAULT_MODEL

if TYPE_CHECKING:
    from srcli.imaging.codecs.base import ImageInfo
    from srcli.imaging.metadata.fields import Metadata
    from srcli.imaging.metadata.provenance import Record
    from srcli.imaging.quality_estimate import QualityEstimate

_REPAIRER = "real"


def info(
    files: Annotated[list[Path], typer.Argument(help="Images.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="The same for scripts, an object for each.")] = False,
) -> None:
    """Say what an image is, which model suits it and why; for an output of ours, how it was made."""
    failed = 0
    for path in files:
        try:
            _tell(path, json)
        except SrError as error:
            failed += 1
            console.print_error(error)
            if json:
                console.out.print_json(json_format.dumps({"file": str(path), "error": error.message}))
    if failed:
        raise typer.Exit(ExitCode.FAILED if failed == len(files) else ExitCode.PARTLY)


def _tell(path: Path, json: bool) -> None:
    from srcli.imaging.codecs.reading import read_info
    from srcli.imaging.image import read_image
    from srcli.imaging.metadata.provenance import read_record
    from srcli.imaging.quality_estimate import estimate_quality, list_defects

    found = read_info(path)
    seen = estimate_quality(read_image(path).pixels)
    reasons = list_defects(seen, found.quality)
    record = read_record(found.metadata)
    if json:
        console.out.print_json(json_format.dumps(_record(path, found, seen, reasons, record)))
    else:
        _show(path, found, seen, reasons, record)


def _show(
    path: Path, found: "ImageInfo", seen: "QualityEstimate", reasons: list[str], record: "Record | None"
) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=None)
    for name, text in [*_facts(found, seen), ("suits", _advice(reasons)), *_history(record)]:
        table.add_row(Text(name, "bold"), Text(text, overflow="fold"))
    console.out.print(f"{path}", markup=False)
    # Wrapped, unlike all other results, which scripts may want in one line.
    console.out.print(table, soft_wrap=False)


def _facts(found: "ImageInfo", seen: "QualityEstimate") -> list[tuple[str, str]]:
    width, height = found.size
    frames = f", {found.frames} frames" if found.frames > 1 else ""
    dpi = f", {found.metadata.dpi[0]:.0f} dpi" if found.metadata.dpi else ""
    depth = "float" if found.depth == 32 else f"{found.depth} bit"
    quality = f", quality about {found.quality}" if found.quality else ""
    detail = (
        "full"
        if seen.spare == 1
        else f"as of an image 1/{seen.spare:g} as large: blurred, or enlarged before"
    )
    return [
        ("format", f"{found.format}{quality}{frames}"),
        ("size", f"{width}x{height}, {width * height / 1e6:.1f} megapixels{dpi}"),
        ("samples", f"{found.colours}, {depth}"),
        ("carries", ", ".join(_carried(found.metadata)) or "no metadata"),
        *([("profile", _profile(found.metadata))] if found.metadata.icc else []),
        ("noise", f"about {seen.noise:.1f} of 255"),
        ("detail", detail),
    ]


def _profile(metadata: "Metadata") -> str:
    from srcli.imaging.codecs.reading import read_profile_name

    return read_profile_name(metadata.icc or b"") or "without a name"


def _carried(metadata: "Metadata") -> list[str]:
    names = {
        "colour profile": metadata.icc is not None,
        "EXIF": metadata.exif is not None,
        "XMP": metadata.xmp is not None,
        "comment": metadata.comment is not None,
        "PNG text or colour": bool(metadata.chunks),
    }
    return [name for name, there in names.items() if there]


def _advice(reasons: list[str]) -> str:
    if reasons:
        return f"-m {_REPAIRER}, a network for spoilt images: {'; '.join(reasons)}"
    return f"-m {DEFAULT_MODEL}, or any classical network: it is clean and sharp"


def _history(record: "Record | None") -> list[tuple[str, str]]:
    """How one of our outputs was made."""
    if record is None:
        return []
    weights = [f"{name} sha256 {digest[:16]}" for name, digest in record.weights.items()]
    chosen = [f"{name} {value}" for name, value in record.options.items()]
    made = [f"sr {record.version}", f"{record.model} {record.scale}", *weights, *chosen]
    return [
        ("made by", ", ".join(made)),
        ("made of", f"an image of {record.size}, sha256 {record.source[:16]}"),
        ("made on", f"{record.where or 'cpu'}, tiles of {record.tile}"),
    ]


def _record(
    path: Path, found: "ImageInfo", seen: "QualityEstimate", reasons: list[str], record: "Record | None"
) -> dict[str, Any]:
    return {
        "file": str(path), "format": found.format, "size": found.size, "colours": found.colours,
        "depth": found.depth, "frames": found.frames, "quality": found.quality, "dpi": found.metadata.dpi,
        "carries": _carried(found.metadata),
        "profile": _profile(found.metadata) if found.metadata.icc else None,
        "noise": round(seen.noise, 2), "spare": seen.spare,
        "model": _REPAIRER if reasons else DEFAULT_MODEL, "because": reasons,
        "made": asdict(record) if record else None,
    }  # fmt: skip
