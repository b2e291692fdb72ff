"""SHA-256 of files, which identifies inputs, weights and outputs."""

import hashlib
from pathlib import Path

from srcli.errors import SrError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex. Raises `SrError` if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SrError(f"{path} cannot be read: {error.strerror}", "check its path") from error
