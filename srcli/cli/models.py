"""`sr models`: what `--model` takes."""

from typing import TYPE_CHECKING

from srcli.cli import console

if TYPE_CHECKING:
    from srcli.manifest import Entry


def models() -> None:
    """List networks with weights, and the interpolators."""
    from rich.table import Table

    from srcli import manifest
    from srcli.imaging.resize import KERNELS

    table = Table("Model", "Scale", "Weights", "Licence", "PSNR-Y on Set5")
    for entry in manifest.load():
        psnr = entry.expect.get("Set5", {}).get("psnr_y")
        figure = f"{psnr:.2f}" if psnr else "-"
        table.add_row(entry.model, f"x{entry.scale}", _place(entry), entry.licence, figure)
    table.add_section()
    for name in KERNELS:
        table.add_row(name, "any", "none needed", "-", "-")
    console.result.print(table)


def _place(entry: "Entry") -> str:
    from srcli.engine import hub

    if entry.bundled:
        return "bundled"
    assert not isinstance(entry.file, str)
    there = hub.cached(entry.file.repo, entry.file.revision, entry.file.file)
    return "cached" if there else f"hub: {entry.file.repo}"
