"""Scores on disk while a benchmark runs, so that an interrupted run can be resumed."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcli.bench.results import ImageScore, flatten, replace_nonfinite, unflatten
from srcli.errors import FileError
from srcli.storage.files import get_cache_folder
from srcli.storage.json_text import parse_json


class ScoreCache:
    """A file with one line per score and the key of what it depends on, deleted when the run is complete.

    `identity` is everything that all of the scores depend on; another identity is another file.
    """

    def __init__(self, identity: str) -> None:
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.path = get_cache_folder() / "bench" / f"{name}.jsonl"

    def read(self) -> dict[str, ImageScore]:
        """Return the scores by key, without a last line that was cut off."""
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except OSError:
            return {}
        scores = {}
        for line in lines:
            try:
                raw: Mapping[str, Any] = parse_json(line)
                scores[str(raw["key"])] = unflatten(ImageScore, raw["score"])
            except (ValueError, KeyError, TypeError):
                continue
        return scores

    def add(self, key: str, score: ImageScore) -> None:
        """Append a score. Raises `FileError` if it cannot be written."""
        line = json.dumps(replace_nonfinite({"key": key, "score": flatten(score)}), allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # A run that was killed may have left half a line; the new one must not continue it.
                file.write(f"\n{line}\n" if _ends_in_partial_line(self.path) else f"{line}\n")
        except OSError as error:
            reason = error.strerror or str(error)
            raise FileError(
                f"cannot write {self.path}: {reason}", "set SR_CACHE to another folder"
            ) from error

    def delete(self) -> None:
        """Delete the file, so that the next run measures again."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _ends_in_partial_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"
