"""Rich's part of the console: styled text and progress bars, imported only if something needs it."""

import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from srcli.cli.terminal import can_show_bar
from srcli.storage.control_characters import escape_controls

_NARROW = 90  # columns, below which only the most important ones are shown


class SafeConsole(Console):
    """A console to which nothing from a file can do more than show its text.

    A string is one line, and of what Rich renders only line ends and the styles of Rich itself are left.
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


def style_label(label: str, style: str, text: str) -> Text:
    """Return a line that starts with a label in a style."""
    return Text.assemble((label, style), text)


class DueColumn(ProgressColumn):
    """The time until a moment of the monotonic clock, in the field `due` of a task; it counts down."""

    def render(self, task: Task) -> Text:
        """Return hours, minutes and seconds."""
        due = task.fields["due"]
        if due is None:
            return Text("-:--:--", "progress.remaining")
        seconds = max(0, round(due - monotonic()))
        left = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
        return Text(left, "progress.remaining")


def make_batch_bar(console: Console) -> Progress:
    """Return the bar of a batch; on a narrow terminal, only name, bar and the time left."""
    name, due = TextColumn("{task.description}", markup=False), DueColumn()
    if console.width < _NARROW:
        columns: list[ProgressColumn] = [name, BarColumn(bar_width=8), due]
    else:
        tiles, rate = TextColumn("{task.fields[tiles]}"), TextColumn("{task.fields[rate]}")
        columns = [name, BarColumn(bar_width=None), tiles, rate, TimeElapsedColumn(), due]
    return Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())


def make_progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """Return a progress bar, which is visible while it is entered, and only where `can_show_bar`."""
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
        console=console,
        transient=True,
        disable=not can_show_bar(),
        redirect_stdout=sys.stdout.isatty(),
    )
