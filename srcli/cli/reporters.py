"""Reporters show the events of a batch; this one prints lines for a person."""

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from srcli.batch import events
from srcli.cli import console
from srcli.cli.terminal import can_show_bar
from srcli.dataclass import dataclass
from srcli.errors import SrError

if TYPE_CHECKING:
    from srcli.batch.job_store import Counts
    from srcli.batch.summary import Summary
    from srcli.cli.batch_bar import BatchBar
    from srcli.engine.seams import Seam
    from srcli.storage.locations import Location
    from srcli.upscaling.files import Result
    from srcli.upscaling.task import UpscaleTask


# Images between two messages while a store is listed.
_LIST_INTERVAL = 100_000
# Images whose headers are read for the progress bar, a tenth of a millisecond each.
_MOST_MEASURED = 5000


class Reporter(Protocol):
    """Shows events; it is entered while the batch runs."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *reason: object) -> None: ...

    def emit(self, event: events.Event) -> None:
        """Show an event."""


@dataclass
class ConsoleReporter:
    """Reporter for people: results on stdout, messages and a progress bar on stderr.

    `verbosity` is 0 for errors only, 2 for more. `names` replace the names of temporary files. If images go
    to stdout (`is_piped`), results go to stderr. `has_bar`: there is a progress bar, if somebody sees it.
    """

    verbosity: int = 1
    is_piped: bool = False
    names: dict[str, str] = field(default_factory=dict)
    has_bar: bool = True
    _bar: "BatchBar | None" = None
    _printed: set[str] = field(default_factory=set)
    _seams: list["Seam"] = field(default_factory=list)
    _is_watching: bool = False
    _is_loaded: bool = False
    _ignored: events.FilesIgnored | None = None

    def __enter__(self) -> Self:
        if self.verbosity and self.has_bar and can_show_bar():
            from srcli.cli.batch_bar import BatchBar

            self._bar = BatchBar()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop_bar()

    def emit(self, event: events.Event) -> None:  # noqa: PLR0912, PLR0915 (a case for each event)
        """Print an event, or show it in the progress bar."""
        match event:
            case events.ImagesListed(count) if count % _LIST_INTERVAL == 0:
                self._print(f"{count:,} images listed")
            case events.JobOpened(name, counts, new, interrupted):
                self._print(_describe_opened(name, counts, new, interrupted))
                if self._bar:
                    self._bar.expect(counts.remaining, {})
            case events.ModelChosen(name, within):
                self._print(f"{name} is the best model within {format_duration(within)}")
            case events.BatchStarted(tasks):
                self._expect(tasks)
            case events.WorkersStarted():
                if self._bar:
                    self._bar.show()
            case events.ModelLoading() | events.FoldersIdle():
                self._stop_bar()  # it would be in the way of a download's bar, or keep counting seconds
            case events.Preparation():
                self._show_preparation(event)
            case events.ModelLoaded():
                self._show_model(event)
            case events.Note(text):
                self._print(text, verbosity=2)
            case events.ImageStarted(task):
                self._start_image(task)
            case events.TileDone(done, total):
                self._show_progress(done, total)
            case events.SeamMeasured(seam):
                self._show_seam(seam)
            case events.ImageDone(task, result):
                worst = find_worst_seam(self._seams)
                self._finish_image(f"{task.target}  {_describe_result(result, self.verbosity, worst)}")
            case events.ImageSkipped(task, reason):
                file = task.target if reason is events.SkipReason.UP_TO_DATE else task.source
                self._finish_image(f"{file}  {reason}")
            case events.FilesIgnored():
                self._ignored = event
            case events.ImageFailed(_, error):
                self._finish_image("")
                self._print_error_once(error)
            case events.FolderFailed(error):
                self._print_error_once(error)
            case events.FoldersWatched(folders):
                self._is_watching = True
                names = ", ".join(map(str, folders))
                self._print(f"watching {names}; Ctrl-C stops after the current image")
            case events.BatchInterrupted():
                self._show_interruption(event)
            case events.BatchDone(summary):
                self._show_summary(summary)
            case events.JobDone(name, counts):
                self._show_job(name, counts)

    def _stop_bar(self) -> None:
        if self._bar:
            self._bar.hide()

    def _print(self, line: str, verbosity: int = 1) -> None:
        if self.verbosity >= verbosity:
            console.err.print(line, markup=False)

    def _expect(self, tasks: "Sequence[UpscaleTask]") -> None:
        """Let the bar grow by pixels, if somebody sees it."""
        if self._bar:
            shown = tasks if len(tasks) <= _MOST_MEASURED else ()
            self._bar.expect(len(tasks), measure_work([task.source for task in shown]))

    def _show_preparation(self, event: events.Preparation) -> None:
        """Show that a model is prepared, in the bar or else in a line; then how long it took."""
        if event.seconds is not None:
            if self._bar or not sys.stderr.isatty():
                self._print(f"{event.text}: {event.seconds:.1f} s")
            if self._bar:
                self._bar.describe_image()
        elif self._bar:
            self._bar.describe(event.text)
            self._bar.show()
        elif sys.stderr.isatty():
            self._print(f"{event.text} ...")

    def _show_model(self, model: events.ModelLoaded) -> None:
        """Print a model once, however many scales it is loaded for."""
        identity = f", identified as {model.identified_as}," if model.identified_as else ""
        line = f"{model.name}{identity} on {model.device}"
        if line not in self._printed:
            self._print(line)
        self._printed.add(line)
        self._is_loaded = True
        if self._bar:
            self._bar.show()

    def _start_image(self, task: "UpscaleTask") -> None:
        self._seams = []
        self._print(rename(f"{task.source} -> {task.target}", self.names), verbosity=2)
        if self._bar:
            self._bar.start_image(str(task.source), self.names.get(str(task.source), str(task.source)))
            if self._is_watching and self._is_loaded:
                self._bar.show()

    def _show_progress(self, done: int, total: int) -> None:
        if self._bar:
            self._bar.show_tiles(done, total)

    def _show_seam(self, seam: "Seam") -> None:
        """Print a seam that may be visible; others are only part of verbose results."""
        self._seams.append(seam)
        if seam.again or seam.visible:
            consequence = (
                "trying again with more overlap" if seam.again else "a larger --tile has fewer edges"
            )
            self._print(f"tiles differ by {seam.levels:.1f} of 255 levels at their edges; {consequence}")

    def _finish_image(self, line: str) -> None:
        if self._bar:
            self._bar.finish_image()
        if line and self.verbosity:
            # If both are one terminal, only the console that has the bar can print above it.
            is_terminal = sys.stdout.isatty() and sys.stderr.isatty()
            target = console.err if self.is_piped or is_terminal else console.out
            target.print(rename(line, self.names), markup=False)

    def _print_error_once(self, error: SrError) -> None:
        """Print an error that many images share once; likewise a hint that many errors share."""
        if error.message not in self._printed:
            message = rename(error.message, self.names)
            shown = SrError(message, "" if error.hint in self._printed else error.hint)
            shown.details = error.details
            console.print_error(shown)
            self._printed |= {error.message, error.hint}

    def _show_interruption(self, event: events.BatchInterrupted) -> None:
        self._stop_bar()
        if event.is_job:
            console.err.print("stopped; run the same command again to continue")
        elif event.total > 1:
            console.err.print(
                f"stopped; {event.done:,} of {event.total:,} done, add --skip-existing to continue"
            )

    def _show_summary(self, summary: "Summary") -> None:
        self._stop_bar()
        if self._is_watching:
            self._print(f"stopped; {summary.done} done")
        self._show_ignored()
        if summary.failed and summary.images > 1:
            names = ", ".join(str(failure.task.source) for failure in summary.failures)
            console.err.print(f"{summary.failed} of {summary.images} failed: {names}", markup=False)
        if summary.untried:
            console.err.print(f"{summary.untried} not tried", markup=False)
        if summary.unlisted:
            console.err.print(f"folders that could not be listed: {summary.unlisted}", markup=False)

    def _show_ignored(self) -> None:
        if self._ignored:
            count, suffixes = self._ignored.count, ", ".join(self._ignored.suffixes)
            what = "files left out, not images" if count > 1 else "file left out, not an image"
            self._print(f"{count:,} {what} ({suffixes})")

    def _show_job(self, name: str | None, counts: "Counts") -> None:
        """Print how many failed, but not which: there may be millions."""
        self._stop_bar()
        self._show_ignored()
        if self.verbosity or counts.failed:
            line = f"job {name}: " if name else ""
            line += f"{counts.done:,} of {counts.total:,} done"
            line += f", {counts.remaining:,} not tried" if counts.remaining else ""
            line += f", {counts.failed:,} failed" if counts.failed else ""
            console.err.print(line, markup=False)
        if counts.failed and name:
            hint = (
                f"`sr jobs show {name}` shows the reasons; `sr jobs retry {name}` marks them for another try"
            )
            console.err.print(f"hint: {hint}", markup=False)


def measure_work(sources: "Sequence[Location]") -> dict[str, float]:
    """Return the pixels over all frames of each local image, by name, as far as its header can be read."""
    from srcli.imaging.codecs.reading import read_info

    work: dict[str, float] = {}
    for source in sources:
        with suppress(Exception):  # reading the image will raise it again and report it
            if isinstance(source, Path):
                info = read_info(source)
                work[str(source)] = float(math.prod(info.size) * info.frames)
    return work


def rename(text: str, names: dict[str, str]) -> str:
    """Return a text with each path replaced by the name that the user knows it by."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def find_worst_seam(seams: "list[Seam]") -> "Seam | None":
    """Return the worst seam that is left in the image; None if there was only one tile."""
    return max((seam for seam in seams if not seam.again), key=lambda seam: seam.step, default=None)


def format_duration(seconds: float) -> str:
    """Return a time as people read it, with two or three digits.

    >>> format_duration(0.84), format_duration(45), format_duration(200), format_duration(1514)
    ('0.8 s', '45 s', '3 min 20 s', '25 min')
    >>> format_duration(120), format_duration(9000)
    ('2 min', '2 h 30 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min".removesuffix(" 0 min")
    )


def _describe_opened(name: str, counts: "Counts", new: int, interrupted: int) -> str:
    parts = [f"job {name}: {counts.total:,} images, {counts.remaining:,} to do"]
    parts += [f"{new:,} new"] if new and new < counts.total else []
    parts += [f"{interrupted:,} were in progress when a run was killed"] if interrupted else []
    return ", ".join(parts)


def _describe_result(result: "Result", verbosity: int, seam: "Seam | None") -> str:
    old, new = ("x".join(map(str, size)) for size in (result.input_size, result.output_size))
    parts = [f"{old} -> {new}"]
    if result.frames > 1:
        parts.append(f"{result.frames} frames")
    if result.output_depth < result.input_depth or verbosity > 1:
        parts.append(f"{result.input_depth} -> {result.output_depth} bits")
    parts += result.notes
    if seam and verbosity > 1:
        parts.append(f"seams {seam.levels:.3f} of 255")
    return "  ".join([*parts, f"{result.seconds:.1f} s"])
