"""Consoles for results (stdout) and messages (stderr), progress bars and signals."""

import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from srcli.errors import SrError
from srcli.storage.control_characters import escape_controls
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from srcli.methods import Method

_LONGEST_MESSAGE = 800  # characters
DEBUG = "SR_DEBUG"  # the environment variable that `--debug` sets


class SafeConsole(Console):
    """A console to which nothing from a file can do more than show its text.

    Everything that `sr` prints goes through one: a string is one line, and of what Rich renders only line
    ends and the styles of Rich itself are left.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print a line, or something that Rich renders."""
        super().print(*(escape_controls(o) if isinstance(o, str) else o for o in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield segments of harmless text."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n":
                yield segment
            else:
                text = "\n".join(map(escape_controls, segment.text.split("\n")))
                yield Segment(text, segment.style)


err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)
out = SafeConsole(highlight=False, soft_wrap=True)


def print_lines(text: str, console: Console = out) -> None:
    """Print a text of several lines as it is."""
    for line in text.splitlines():
        console.print(line, markup=False)


def _shorten(line: str) -> str:
    """Leave out the middle of a line that quotes something very long."""
    if len(line) <= _LONGEST_MESSAGE:
        return line
    return f"{line[: _LONGEST_MESSAGE * 3 // 4]} ... {line[-_LONGEST_MESSAGE // 4 :]}"


def print_error(error: SrError) -> None:
    """Print one line on what is wrong and one on what to do; with `--debug`, also where it was raised."""
    err.print(Text.assemble(("error: ", "bold red"), _shorten(escape_controls(error.message))))
    if error.hint:
        err.print(Text.assemble(("hint: ", "bold cyan"), escape_controls(error.hint)))
    if os.environ.get(DEBUG):
        print_lines(error.details or "".join(traceback.format_exception(error)), err)


def make_progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a progress bar on stderr, which is visible while it is entered, and only on a terminal.

    Downloads have a bar of their own: do not enter this one around them.
    """
    shown = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Rich would redirect stdout to the bar's console, stderr; results in a pipe have to stay on stdout.
    return Progress(
        *shown,
        console=err,
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


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
    with replace_atomically(path) as temporary:
        temporary.write_text(text, "utf-8")


def print_identified(methods: "Iterable[Method]") -> None:
    """Print what weight files without a header were identified as."""
    for method in methods:
        if method.identified_as:
            err.print(f"{method.name}: identified as {method.identified_as}", markup=False)
