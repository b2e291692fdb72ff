"""Writing of stores: by one process at a time, each file completely or not at all."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from srcli.errors import DatasetError, FileError
from srcli.storage.files import replace_atomically

_HINT = "free the disk, or set SR_CACHE to another folder"


def key(facts: object) -> str:
    """Hash facts, as JSON, to a short name."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def stamp(file: Path) -> tuple[str, int, int]:
    """Return path, size and time of the last change, which identify a file's content."""
    try:
        about = file.stat()
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror}", "check its permissions") from error
    return str(file.resolve()), about.st_size, about.st_mtime_ns


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create `folder` if needed and lock it; deletes partial files that a killed process left behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise DatasetError(f"cannot write into {folder}: {error.strerror}", _HINT) from error
    try:
        for part in folder.glob(".sr-*"):
            part.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def write(path: Path, arrays: Iterable[NDArray[np.uint8]]) -> None:
    """Write the samples of all arrays one after the other. Raises `DatasetError` if the disk refuses."""
    try:
        with replace_atomically(path) as temporary, temporary.open("wb") as out:
            for array in arrays:
                out.write(np.ascontiguousarray(array).data)
    except FileError as error:
        raise DatasetError(error.message, _HINT) from error
