"""The output of `sr compare`: a progress bar on stderr; scores, pictures and file names on stdout."""

import os
from typing import TYPE_CHECKING

import typer

from srcli.cli import console
from srcli.cli.stage_bar import StageBar

if TYPE_CHECKING:
    from srcli.report.compare_events import Event
    from srcli.report.comparisons import MethodResult
    from srcli.report.pictures import LabelledPanels


class CompareReporter:
    """An `emit` for `srcli.report.compare`, which shows progress in `bar`.

    `preview` is a protocol for pictures, or auto or none; `hides_methods` prints no scores and no pictures.
    """

    def __init__(self, bar: StageBar, preview: str, *, hides_methods: bool) -> None:
        self._bar = bar
        self._preview = "none" if hides_methods else preview
        self._hides_methods = hides_methods

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        from srcli.report import compare_events as events

        match event:
            case events.WeightsIdentified(method, network):
                console.err.print(f"{method}: identified as {network}", markup=False)
            case events.ImageStarted(name, number, total, methods):
                self._bar.open(f"{name} ({number} of {total})" if total > 1 else name, methods)
            case events.MethodFinished():
                self._bar.advance()
            case events.ImageCompared(name, total, results):
                if not self._hides_methods:
                    _print_scores(name if total > 1 else "", results)
            case events.AllCompared(images):
                _print_pictures(images, self._preview)
            case events.FileWritten(path):
                console.out.print(f"{path}", markup=False)


def _print_scores(name: str, results: "tuple[MethodResult, ...]") -> None:
    from srcli.report.comparisons import format_score

    if name:
        console.out.print(name, markup=False)
    for result in results:
        console.out.print(f"{result.method:20} {format_score(result.score)}".rstrip(), markup=False)


def _print_pictures(images: "tuple[LabelledPanels, ...]", preview: str) -> None:
    from srcli.report import terminal
    from srcli.report.pictures import draw_sheet

    protocol = terminal.detect_graphics(os.environ) if preview == "auto" else preview
    for image in images if protocol != "none" else ():
        panels = list(image.panels)
        if protocol == "blocks":
            console.out.print(terminal.render_blocks(panels, console.out.width))
        else:
            render = terminal.render_kitty if protocol == "kitty" else terminal.render_sixel
            typer.echo(render(draw_sheet(panels)), nl=False)
