"""Bench results as a Rich table, Markdown, CSV or JSON."""

import csv
import io
import json
from dataclasses import asdict, fields

from rich.table import Table

from srcli.bench import Results, Row

_HEADINGS = ("Dataset", "Scale", "Method", "PSNR-Y", "SSIM-Y", "s/image", "Parameters")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.dataset,
        f"x{row.scale:g}",
        row.method,
        f"{row.psnr_y:.2f}",
        f"{row.ssim_y:.4f}",
        f"{row.seconds_per_image:.3f}",
        f"{row.params:,}" if row.params else "-",
    )


def rich_table(results: Results) -> Table:
    """For a terminal; the title names the protocol, a rule separates data sets and scales."""
    table = Table(title=f"protocol {results.protocol}", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("Dataset", "Method") else "right")
    for row, following in zip(results.rows, [*results.rows[1:], None], strict=True):
        last = following is None or (row.dataset, row.scale) != (following.dataset, following.scale)
        table.add_row(*_cells(row), end_section=last)
    return table


def markdown(results: Results) -> str:
    """A Markdown table; below it the protocol."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---|---:|---|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in results.rows]
    return "\n".join([*lines, "", f"Protocol: {results.protocol}."])


def to_csv(results: Results) -> str:
    """One line per row, every figure in full."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["protocol", *(f.name for f in fields(Row))], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"protocol": results.protocol, **asdict(row)} for row in results.rows)
    return text.getvalue()


def to_json(results: Results) -> str:
    """`{"protocol", "rows", "images"}`; infinite values (equal images) as null."""
    raw = {
        "protocol": results.protocol,
        "rows": [asdict(row) for row in results.rows],
        "images": [asdict(image) for image in results.images],
    }
    return json.dumps(_finite(raw), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    """JSON has no infinity: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if value == float("inf") else value
