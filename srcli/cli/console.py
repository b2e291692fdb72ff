"""Results go to stdout, talk to stderr."""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from srcli.errors import SrError
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from srcli.methods import Method

talk = Console(stderr=True, highlight=False, soft_wrap=True)
result = Console(highlight=False, soft_wrap=True)


def complain(error: SrError) -> None:
    """One line for what is wrong and one for what to do."""
    talk.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        talk.print(Text.assemble(("hint: ", "bold cyan"), error.hint))


def bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on stderr, shown while it is entered; it leaves nothing behind.

    Silent where nobody watches. Downloads bring a bar of their own: don't enter this one around them.
    """
    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Rich would send stdout to where the bar is, that is to stderr; results in a pipe must stay there.
    return Progress(
        *shown,
        console=talk,
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )


@contextmanager
def until_signal() -> Iterator[Event]:
    """An event that the first Ctrl-C (or SIGTERM) sets; the second one interrupts as ever."""
    stopped = Event()

    def note(number: int, frame: FrameType | None) -> None:
        stopped.set()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM as Ctrl-C: what is in hand is cleared away before the process ends."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def save(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises `SrError` where it can't be written."""
    with replace_atomically(path) as temporary:
        temporary.write_text(text, "utf-8")


def tell_taken(methods: "Iterable[Method]") -> None:
    """Say what weight files without a header were taken for."""
    for method in methods:
        if method.identified_as:
            talk.print(f"{method.name}: taken for {method.identified_as}", markup=False)
