"""Cells of CSV files that no spreadsheet runs as a formula."""

from collections.abc import Mapping
from typing import Any


def defuse_cell(value: Any) -> Any:
    """Return a value for a CSV cell; a text that a spreadsheet would run as a formula starts with a quote.

    >>> defuse_cell("=1+1"), defuse_cell("-0.5"), defuse_cell(-0.5), defuse_cell("edsr")
    ("'=1+1", '-0.5', -0.5, 'edsr')
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(value):
        return f"'{value}"
    return value


def defuse_row(row: Mapping[str, Any]) -> dict[Any, Any]:
    """Return a row, by heading, with all its cells and headings defused."""
    return {defuse_cell(heading): defuse_cell(value) for heading, value in row.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
