"""Atomic writes, and the folders for cached and lasting files."""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcli.errors import FileError


def get_cache_folder() -> Path:
    """Return the folder for files that can be recreated: SR_CACHE, or `sr` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SR_CACHE") or Path(base) / "sr")


def get_state_folder() -> Path:
    """Return the folder for files that must outlive a run: SR_STATE, or `sr` in the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("SR_STATE") or Path(base) / "sr")


def check_can_write(path: Path) -> None:
    """Raise `FileError` if no file could be created at `path`."""
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", "choose another path") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileError(f"cannot write into {folder}", "choose another output folder")


# Error numbers that mean the whole disk fails, not just one file or folder.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` if nothing raises.

    Creates the folder if needed. Raises `FileError` if the disk or its permissions do not allow it.
    """
    # The name is chosen before the file exists, so that it is removed whenever this is interrupted.
    temporary = path.with_name(f"{_get_temporary_prefix(path)}{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield temporary
        temporary.chmod(0o666 & ~_get_umask())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another path, or free some disk space"
        raise FileError(f"cannot write {path}: {reason}", hint, error.errno in DISK_ERRORS) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files that killed processes left for `path`; nobody may be writing it."""
    with contextlib.suppress(OSError):
        for leftover in path.parent.glob(f"{_get_temporary_prefix(path)}*"):
            leftover.unlink(missing_ok=True)


def _get_temporary_prefix(path: Path) -> str:
    """Return how all temporary names for `path` start."""
    return f".sr-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _get_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
