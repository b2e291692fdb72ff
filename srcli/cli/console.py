"""Consoles for results (stdout) and messages (stderr), progress bars and signals."""

import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from srcli.errors import SrError
from srcli.storage.control_characters import escape_controls

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from srcli.cli.rich_console import SafeConsole
    from srcli.methods import Method

_LONGEST_MESSAGE = 800  # characters
DEBUG = "SR_DEBUG"  # the environment variable that `--debug` sets


class Output:
    """One of the two streams that `sr` prints to. Plain lines do not need Rich, which takes long to import.

    Everything that `sr` prints goes through one: nothing from a file can do more than show its text.
    """

    def __init__(self, *, is_stderr: bool) -> None:
        self._is_stderr = is_stderr

    @cached_property
    def rich(self) -> "SafeConsole":
        """The console that renders styles, tables and bars; from then on, it prints everything."""
        from srcli.cli.rich_console import SafeConsole

        return SafeConsole(stderr=self._is_stderr, highlight=False, soft_wrap=True)

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self.rich.width

    def print(self, *objects: Any, **options: Any) -> None:
        """Print a line, or something that Rich renders."""
        if "rich" in vars(self) or options != {"markup": False} or not isinstance(objects[0], str):
            self.rich.print(*objects, **options)
        else:
            self._write_line(" ".join(map(str, objects)))

    def _write_line(self, line: str) -> None:
        stream = sys.stderr if self._is_stderr else sys.stdout
        try:
            stream.write(escape_controls(line) + "\n")
            stream.flush()
        except BrokenPipeError:
            self.rich.on_broken_pipe()

    def print_json(self, text: str, **options: Any) -> None:
        """Print JSON, with colours on a terminal."""
        self.rich.print_json(text, **options)


err = Output(is_stderr=True)
out = Output(is_stderr=False)


def print_lines(text: str, output: Output = out) -> None:
    """Print a text of several lines as it is."""
    for line in text.splitlines():
        output.print(line, markup=False)


def _shorten(line: str) -> str:
    """Leave out the middle of a line that quotes something very long."""
    if len(line) <= _LONGEST_MESSAGE:
        return line
    return f"{line[: _LONGEST_MESSAGE * 3 // 4]} ... {line[-_LONGEST_MESSAGE // 4 :]}"


def print_error(error: SrError) -> None:
    """Print one line on what is wrong and one on what to do; with `--debug`, also where it was raised."""
    _print_labelled("error: ", "bold red", _shorten(escape_controls(error.message)))
    if error.hint:
        _print_labelled("hint: ", "bold cyan", escape_controls(error.hint))
    if os.environ.get(DEBUG):
        print_lines(error.details or "".join(traceback.format_exception(error)), err)


def _print_labelled(label: str, style: str, text: str) -> None:
    if sys.stderr.isatty() or "FORCE_COLOR" in os.environ:
        from srcli.cli.rich_console import style_label

        err.print(style_label(label, style, text))
    else:
        err.print(label + text, markup=False)


def make_progress_bar(*columns: "ProgressColumn") -> "Progress":
    """Return a progress bar on stderr, which is visible while it is entered, and only on a terminal.

    Downloads have a bar of their own: do not enter this one around them.
    """
    from srcli.cli import rich_console

    return rich_console.make_progress_bar(err.rich, *columns)


@contextmanager
def stop_on_signal() -> Iterator[Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets; the second one interrupts as usual."""
    stopped = Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that temporary files are removed before the process ends."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises `SrError` if it cannot be written."""
    from srcli.storage.files import replace_atomically

    with replace_atomically(path) as temporary:
        temporary.write_text(text, "utf-8")


def print_identified(methods: "Iterable[Method]") -> None:
    """Print what weight files without a header were identified as."""
    for method in methods:
        if method.identified_as:
            err.print(f"{method.name}: identified as {method.identified_as}", markup=False)
