"""Reading JSON of unknown origin: bounded in size, and whatever is wrong with it is a `ValueError`."""

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 2**26


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises `ValueError` also for text that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the value in a JSON file. Raises `ValueError` as `parse_json` does, `OSError` as `open` does."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"larger than {max_bytes:,} bytes")
    return parse_json(data)
