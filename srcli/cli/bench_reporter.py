"""What `sr bench` shows while it runs: a progress bar and messages on stderr."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import Progress, TaskID

from srcli.cli import console
from srcli.errors import SrError

if TYPE_CHECKING:
    from srcli.bench.events import Event
    from srcli.bench.results import Failure


class BenchReporter:
    """An `emit` for `srcli.bench.run`; a context, so that no bar is left behind when the run fails."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        from srcli.bench import events

        match event:
            case events.Note(text):
                console.err.print(text, markup=False)
            case events.CheckStarted(total):
                self._open_bar("reading images", total)
            case events.ImageChecked():
                self._advance("reading images")
            case events.ImageUnreadable(reason):
                console.print_error(SrError(reason))
            case events.Resumed(scores):
                console.err.print(
                    f"resuming an interrupted run: {scores} scores are already there; --fresh starts over"
                )
            case events.WeightsIdentified(method, network):
                console.err.print(f"{method}: identified as {network}", markup=False)
            case events.ScoringStarted(total):
                self._open_bar("scoring", total)
            case events.ImageScored(result):
                self._advance(f"{result.dataset} x{result.scale:g}")
            case events.CostsStarted():
                self._open_bar("measuring costs", None)
            case events.Interrupted():
                self._close_bar()
                console.err.print("interrupted; run the same command again to resume")
            case events.Finished(failures):
                self._close_bar()
                for failure in failures:
                    console.print_error(_describe(failure))

    def _open_bar(self, description: str, total: int | None) -> None:
        self._close_bar()
        self._bar = console.make_progress_bar()
        self._bar.start()
        self._task = self._bar.add_task(description, total=total)

    def _advance(self, description: str) -> None:
        if self._bar:
            self._bar.update(self._task, advance=1, description=description)
            # Networks may be downloaded next, with a bar of their own.
            if self._bar.finished:
                self._close_bar()

    def _close_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None


def _describe(failure: "Failure") -> SrError:
    return SrError(
        f"{failure.image} of {failure.dataset} x{failure.scale}, {failure.method}: {failure.reason}"
    )
