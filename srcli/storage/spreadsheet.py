"""Cells of CSV files that no spreadsheet runs as a formula."""

from collections.abc import Mapping
from typing import Any

from srcli.storage.control_characters import escape_controls


def defuse_cell(value: Any) -> Any:
    r"""Return a value for a CSV cell, with control characters made visible: it may be printed to a terminal.

    A text that a spreadsheet would run as a formula starts with a quote.

    >>> defuse_cell("=1+1"), defuse_cell("-0.5"), defuse_cell(-0.5), defuse_cell("edsr")
    ("'=1+1", '-0.5', -0.5, 'edsr')
    >>> print(defuse_cell("a\x1b[2J"))
    a\x1b[2J
    """
    if not isinstance(value, str):
        return value
    value = escape_controls(value)
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") and not _is_number(value) else value


def defuse_row(row: Mapping[str, Any]) -> dict[Any, Any]:
    """Return a row, by heading, with all its cells and headings defused."""
    return {defuse_cell(heading): defuse_cell(value) for heading, value in row.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
