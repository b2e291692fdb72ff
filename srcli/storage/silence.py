"""Silence for libraries that print what they also raise, or warn of what does not matter."""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_STDERR = 2
_LOCK = threading.Condition()
# How many blocks want stderr silenced, and a copy of the descriptor, -1 if it was closed.
_users, _saved = 0, -1
# The thread that is using stderr.
_speaker: int | None = None
# How many blocks want no warnings, and what restores the filters.
_ignoring, _filters = 0, warnings.catch_warnings()


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what native code prints to the descriptor of stderr.

    It belongs to the process: of several threads, the first redirects it and the last restores it. What other
    threads print to stderr meanwhile is lost, too, unless they `reserve_stderr`. A closed one stays closed.
    """
    global _users, _saved  # noqa: PLW0603 (a descriptor is as global as can be)
    with _LOCK:
        _LOCK.wait_for(lambda: _speaker in (None, threading.get_ident()))
        if not _users:
            _saved = _redirect_stderr()
        _users += 1
    try:
        yield
    finally:
        with _LOCK:
            _users -= 1
            if not _users and _saved >= 0:
                os.dup2(_saved, _STDERR)
                os.close(_saved)
            _LOCK.notify_all()


@contextmanager
def reserve_stderr() -> Iterator[None]:
    """Let no other thread silence stderr while this one prints; wait for those that do."""
    global _speaker  # noqa: PLW0603 (of the process, as the descriptor)
    own = threading.get_ident()
    try:  # from here, as Ctrl-C may come at any point
        with _LOCK:
            _LOCK.wait_for(lambda: not _users and _speaker is None)
            _speaker = own
        yield
    finally:
        with _LOCK:
            if _speaker == own:
                _speaker = None
            _LOCK.notify_all()


def _redirect_stderr() -> int:
    """Let the descriptor lead nowhere, and return a copy of it, or -1 if it is closed."""
    try:
        saved = _duplicate(_STDERR)
    except OSError:
        return -1
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # what it holds is no library's
            sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    os.close(nowhere)
    return saved


def _duplicate(number: int) -> int:
    """Return a copy of a descriptor above 2: a closed stdin or stdout is not to become open by it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return os.dup(number)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)


class _FilteredStream:
    """A stream that discards what threads write that are to be silent, and else does as it did before."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.silent = set[int]()

    def write(self, text: str) -> int:
        """Write, or pretend to."""
        return len(text) if threading.get_ident() in self.silent else int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def silence_prints() -> Iterator[None]:
    """Discard what this thread writes to `sys.stdout`, which may be an image.

    Other threads are not affected. Someone else may keep the stream that is put in its place for longer.
    """
    own = threading.get_ident()
    with _LOCK:
        if not isinstance(sys.stdout, _FilteredStream):
            sys.stdout = _FilteredStream(sys.stdout)
        filtered: Any = sys.stdout
        filtered.silent.add(own)
    try:
        yield
    finally:
        with _LOCK:
            filtered.silent.discard(own)
            if sys.stdout is filtered and not filtered.silent:
                sys.stdout = filtered.stream


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Ignore all warnings. Filters belong to the process: the last of several threads restores them."""
    global _ignoring, _filters  # noqa: PLW0603 (of the process, too)
    with _LOCK:
        if not _ignoring:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _ignoring += 1
    try:
        yield
    finally:
        with _LOCK:
            _ignoring -= 1
            if not _ignoring:
                _filters.__exit__(None, None, None)
