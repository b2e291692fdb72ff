"""Scores as they come, kept on disk: a run that was killed goes on where it stopped."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcli.bench.results import ImageScore, finite, flat, unflat
from srcli.errors import FileError
from srcli.storage.files import get_cache_folder


class ScoreCache:
    """A file of lines, one for each score, under what it depends on; it is deleted when the run is complete.

    `identity` is all that every score depends on.
    """

    def __init__(self, identity: str) -> None:
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.path = get_cache_folder() / "bench" / f"{name}.jsonl"

    def read(self) -> dict[str, ImageScore]:
        """Scores by their keys; a line that was cut off is left out."""
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except OSError:
            return {}
        found = {}
        for line in lines:
            try:
                raw: Mapping[str, Any] = json.loads(line)
                found[str(raw["key"])] = unflat(ImageScore, raw["score"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, key: str, score: ImageScore) -> None:
        """Append a score. Raises `FileError` where the disk says no."""
        line = json.dumps(finite({"key": key, "score": flat(score)}), allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # After a line that was cut off, the new one needs a line of its own.
                file.write(f"\n{line}\n" if _is_cut(self.path) else f"{line}\n")
        except OSError as error:
            reason = error.strerror or str(error)
            raise FileError(
                f"cannot write {self.path}: {reason}", "set SR_CACHE to another folder"
            ) from error

    def close(self) -> None:
        """The run is complete: the next one measures anew."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"
