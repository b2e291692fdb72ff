"""Files that appear whole or not at all."""

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
    """Where what can be made again is kept: SR_CACHE, else `sr` under the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SR_CACHE") or Path(base) / "sr")


def get_state_folder() -> Path:
    """Where what must outlive a run is kept: SR_STATE, else `sr` under the user's folder for states."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("SR_STATE") or Path(base) / "sr")


def check_can_write(path: Path) -> None:
    """Raise `FileError` where no file could be made at `path`, before the work for it is done."""
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", "choose another place") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileError(f"cannot write into {folder}", "choose another place for the output")


# What says that the disk is at its end, not that one file or folder is in the way.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder that takes the place of `path` if all goes well.

    Makes the folder if need be. Raises `FileError` where the disk or its permissions say no.
    """
    # Known before it is there, so that whatever interrupts finds it.
    temporary = path.with_name(f"{_mark(path)}{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another place, or free the disk"
        raise FileError(f"cannot write {path}: {reason}", hint, error.errno in DISK_ERRORS) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Delete what a process that was killed left of `path`, which nobody may be about to write."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{_mark(path)}*"):
            left.unlink(missing_ok=True)


def _mark(path: Path) -> str:
    """What the temporary names for `path` begin with."""
    return f".sr-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
