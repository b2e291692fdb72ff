"""Atomic writes, and the folders for cached and lasting files."""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
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
        if is_special(path):
            if not os.access(path, os.W_OK):
                raise FileError(f"cannot write to {path}", "choose another path")
            return
        folder = next(parent for parent in _follow_links(path).parents if parent.exists())
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror}", "choose another path") from error
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileError(f"cannot write into {folder}", "choose another output folder")


# Error numbers that mean the whole disk fails, not just one file or folder.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` if nothing raises.

    Creates the folder if needed. A link stays a link: the file it points to is replaced. A file that is
    replaced keeps its permissions and its owner. What is no regular file (a device, a FIFO, `/dev/stdout`) is
    never replaced: the bytes are copied into it at the end. Raises `FileError` if the disk or its permissions
    do not allow it.
    """
    try:
        if is_special(path):
            with tempfile.TemporaryDirectory(prefix="sr-") as folder:
                temporary = Path(folder, f"output{path.suffix}")
                temporary.touch()
                yield temporary
                with temporary.open("rb") as source, path.open("wb", buffering=0) as target:
                    shutil.copyfileobj(source, target)
        else:
            with _replace_file(_follow_links(path)) as temporary:
                yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another path, or free some disk space"
        raise FileError(f"cannot write {path}: {reason}", hint, error.errno in DISK_ERRORS) from error


@contextmanager
def _replace_file(path: Path) -> Iterator[Path]:
    # The name is chosen before the file exists, so that it is removed whenever this is interrupted.
    mark = f"{_name_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f"{_get_temporary_prefix(path)}{mark}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_folder(path.parent)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield temporary
        _copy_permissions(path, temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _copy_permissions(old: Path, new: Path) -> None:
    """Give `new` the mode and owner of the file it replaces, or those of a new file."""
    try:
        state = old.stat()
    except FileNotFoundError:
        new.chmod(0o666 & ~_get_umask())
        return
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):  # only root may give files away
            os.chown(new, state.st_uid, state.st_gid)
    new.chmod(stat.S_IMODE(state.st_mode))  # after chown, which may clear bits


def is_special(path: Path) -> bool:
    """Return whether `path` exists and must be written to as it is: a device, a FIFO, a descriptor."""
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(state.st_mode):
        return False
    absolute = str(path.absolute())
    is_descriptor = absolute.startswith(("/dev/fd/", "/proc/")) or absolute in ("/dev/stdout", "/dev/stderr")
    return is_descriptor or not stat.S_ISREG(state.st_mode)


def _follow_links(path: Path) -> Path:
    """Return the absolute path of the file that a link points to, or of the file itself."""
    return path.resolve() if path.is_symlink() else path.absolute()


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files that killed processes left for `path`; nobody may be writing it."""
    with contextlib.suppress(OSError):
        real = _follow_links(path)
        for leftover in real.parent.glob(f"{_get_temporary_prefix(real)}*"):
            leftover.unlink(missing_ok=True)


@lru_cache(maxsize=256)
def sweep_folder(folder: Path) -> None:
    """Delete the temporary files that killed processes of this machine left in a folder, once per folder."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            found = _TEMPORARY.match(name)
            if found and found["host"] == _name_host() and not _is_running(int(found["pid"])):
                (folder / name).unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\.sr-[0-9a-f]{8}-(?P<host>[0-9a-f]{6})-(?P<pid>\d{1,9})-[0-9a-f]{8}")


@lru_cache(maxsize=1)
def _name_host() -> str:
    """Return a name for this machine that fits into a file name; other machines may share the folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _get_temporary_prefix(path: Path) -> str:
    """Return how all temporary names for `path` start."""
    return f".sr-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _get_umask() -> int:
    with contextlib.suppress(OSError, StopIteration, ValueError):  # only Linux tells it without changing it
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    with _UMASK_LOCK:  # a second thread would take the 0 of the first for the mask
        mask = os.umask(0)
        os.umask(mask)
    return mask


_UMASK_LOCK = threading.Lock()
