"""SHA-256 of files, which identifies inputs, weights and outputs."""

import hashlib
from functools import lru_cache
from pathlib import Path

from srcli.errors import SrError


def hash_once(path: Path) -> str:
    """Return the SHA-256 of a file, from memory if the file has not changed since. Raises like `sha256`."""
    try:
        status = path.stat()
    except OSError:
        return sha256(path)
    return _hash_state(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=256)
def _hash_state(path: Path, *_state: int) -> str:
    return sha256(path)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises `SrError` if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SrError(f"{path} cannot be read: {error.strerror}", "check its path") from error
