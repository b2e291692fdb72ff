"""The output of `sr bench` while it runs: a progress bar and messages on stderr."""

from typing import TYPE_CHECKING

from srcli.cli import console
from srcli.cli.stage_bar import StageBar
from srcli.errors import SrError

if TYPE_CHECKING:
    from srcli.bench.events import Event
    from srcli.bench.results import Failure


class BenchReporter:
    """An `emit` for `srcli.bench.run`, which shows progress in `bar`."""

    def __init__(self, bar: StageBar) -> None:
        self._bar = bar

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        from srcli.bench import events

        match event:
            case events.Note(text):
                console.err.print(text, markup=False)
            case events.CheckStarted(total):
                self._bar.open("reading images", total)
            case events.ImageChecked():
                self._bar.advance("reading images")
            case events.ImageUnreadable(reason):
                console.print_error(SrError(reason))
            case events.Resumed(scores):
                console.err.print(
                    f"resuming an interrupted run: {scores} scores are already there; --fresh starts over"
                )
            case events.WeightsIdentified(method, network):
                console.err.print(f"{method}: identified as {network}", markup=False)
            case events.ScoringStarted(total):
                self._bar.open("scoring", total)
            case events.ImageScored(result):
                self._bar.advance(f"{result.dataset} x{result.scale:g}")
            case events.CostsStarted():
                self._bar.open("measuring costs", None)
            case events.Interrupted():
                self._bar.close()
                console.err.print("interrupted; run the same command again to resume")
            case events.Finished(failures):
                self._bar.close()
                for failure in failures:
                    console.print_error(_describe(failure))


def _describe(failure: "Failure") -> SrError:
    return SrError(
        f"{failure.image} of {failure.dataset} x{failure.scale}, {failure.method}: {failure.reason}"
    )
