"""Parsing of numbers in users' text."""

import math

from srcli.errors import UsageError


def parse_positive(label: str, text: str, example: str) -> float:
    """Parse a number above 0. Raises `UsageError`, with an example, for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"the weight of {label} cannot be '{text}'", f"a number above 0, as in {example}")
    return value
