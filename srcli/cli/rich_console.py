"""Rich's part of the console: styled text and progress bars, imported only if something needs it."""

import sys
from collections.abc import Iterator
from typing import Any

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

from srcli.storage.control_characters import escape_controls


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


def make_progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """Return a progress bar, which is visible while it is entered, and only on a terminal."""
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
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )
