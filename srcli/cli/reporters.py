"""How a batch speaks: to a person, in lines; to a script, in JSON records."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.markup import escape

from srcli.cli import console
from srcli.errors import SrError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from srcli.batch.job_store import Counts
    from srcli.batch.runner import Became, Loaded
    from srcli.engine.seams import Seam
    from srcli.upscaling.files import Result
    from srcli.upscaling.task import UpscaleTask


_LISTED = 100_000


class Reporter(Protocol):
    """What there is to say in the course of a batch. Entered while it runs."""

    def __enter__(self) -> "Reporter": ...

    def __exit__(self, *reason: object) -> None: ...

    def called(self, names: dict[str, str]) -> None:
        """What to call temporary files, whose own names say nothing."""

    def several(self, jobs: int | None) -> None:
        """So many images are done side by side: of each all is told once it is done."""

    def loading(self) -> None:
        """A method is going to be loaded, with a bar of its own if it is downloaded."""

    def method(self, method: "Loaded") -> None:
        """What enlarges, once it is loaded."""

    def note(self, words: str) -> None:
        """What was decided on the way, for those who want to know."""

    def begin(self, job: "UpscaleTask") -> None:
        """An image is taken in hand."""

    def progress(self, done: int, total: int) -> None:
        """Tiles of that image."""

    def seam(self, seam: "Seam") -> None:
        """How tiles of that image meet."""

    def outcome(self, outcome: "Became") -> None:
        """What became of it; a result of None is an output that was there already."""

    def watching(self, folders: list[Path]) -> None:
        """What comes into these folders will be taken."""

    def idle(self) -> None:
        """All that has come is done."""

    def trouble(self, error: SrError) -> None:
        """What is wrong with a folder that is watched."""

    def end(self, failed: "list[UpscaleTask]", jobs: int, untried: int) -> None:
        """The whole."""

    def listed(self, count: int) -> None:
        """So many are found until now; there may be many more."""

    def taken_up(self, name: str, counts: "Counts", new: int, cut: int) -> None:
        """A job in a ledger, before the work; `new` were listed, `cut` were in hand when a run was killed."""

    def ended(self, name: str | None, counts: "Counts") -> None:
        """The whole of a job that is kept in a ledger, those of earlier runs too."""


@dataclass
class ConsoleReporter:
    """For people: results on stdout, talk and a bar on stderr."""

    verbosity: int = 1
    piped: bool = False
    bar: "Progress" = field(default_factory=console.make_progress_bar)
    _task: "TaskID | None" = None
    _told: set[str] = field(default_factory=set)
    _names: dict[str, str] = field(default_factory=dict)
    _seams: list["Seam"] = field(default_factory=list)
    _watches: bool = False
    _loaded: bool = False
    _side_by_side: bool = False

    def __enter__(self) -> "ConsoleReporter":
        if self.verbosity:
            self._task = self.bar.add_task("upscaling")
        return self

    def __exit__(self, *reason: object) -> None:
        self.bar.stop()

    def called(self, names: dict[str, str]) -> None:
        """See `Reporter`."""
        self._names = names

    def several(self, jobs: int | None) -> None:
        """See `Reporter`. The bar is of images then."""
        self._side_by_side = True
        if self._task is not None:
            self.bar.update(self._task, total=jobs)
            self.bar.start()

    def loading(self) -> None:
        """See `Reporter`."""
        self.bar.stop()

    def method(self, method: "Loaded") -> None:
        """See `Reporter`. Said once, however many scales it is loaded for."""
        taken = f", taken for {method.about}," if method.about else ""
        line = f"{method.name}{taken} on {method.where}"
        if self.verbosity and line not in self._told:
            console.err.print(line, markup=False)
        self._told.add(line)
        self._loaded = True
        if self.verbosity:
            self.bar.start()

    def note(self, words: str) -> None:
        """See `Reporter`."""
        if self.verbosity > 1:
            console.err.print(words, markup=False)

    def begin(self, job: "UpscaleTask") -> None:
        """See `Reporter`."""
        self._seams = []
        if self.verbosity > 1:
            console.err.print(_renamed(f"{job.source} -> {job.target}", self._names), markup=False)
        if self._task is not None and not self._side_by_side:
            self.bar.update(self._task, description=escape(job.source.name), completed=0)
            if self._watches and self._loaded:
                self.bar.start()

    def progress(self, done: int, total: int) -> None:
        """See `Reporter`."""
        if self._task is not None:
            if done == 1:
                self.bar.reset(self._task)
            self.bar.update(self._task, completed=done, total=total)

    def seam(self, seam: "Seam") -> None:
        """See `Reporter`. What nobody would see is told with the image, and only if more is to be said."""
        self._seams.append(seam)
        if self.verbosity and (seam.again or seam.visible):
            next_ = "again with more overlap" if seam.again else "a larger --tile has fewer edges"
            told = f"tiles differ by {seam.levels:.1f} of 255 levels where they meet; {next_}"
            console.err.print(told, markup=False)

    def outcome(self, outcome: "Became") -> None:
        """See `Reporter`. What is wrong with a folder or a disk is said once, not for every image."""
        if self._task is not None and self._side_by_side:
            self.bar.advance(self._task)
        if outcome.error:
            self.trouble(outcome.error)
        elif outcome.result is None:
            self._say(f"{outcome.job.target}  is there already")
        else:
            self._say(f"{outcome.job.target}  {_summary(outcome.result, self.verbosity, worst(self._seams))}")

    def _say(self, line: str) -> None:
        line = _renamed(line, self._names)
        if self.verbosity:
            # Where both are one terminal, only the console that has the bar can put a line above it.
            on_screen = sys.stdout.isatty() and sys.stderr.isatty()
            (console.err if self.piped or on_screen else console.out).print(line, markup=False)

    def watching(self, folders: list[Path]) -> None:
        """See `Reporter`."""
        self._watches = True
        if self.verbosity:
            names = ", ".join(map(str, folders))
            console.err.print(f"watching {names}; Ctrl-C ends it after the image in hand", markup=False)

    def idle(self) -> None:
        """See `Reporter`. The bar goes: it would count the seconds of an image that is done."""
        self.bar.stop()

    def trouble(self, error: SrError) -> None:
        """See `Reporter`. Once, however often it is met; a hint that many have in common likewise."""
        if error.message not in self._told:
            message = _renamed(error.message, self._names)
            console.print_error(SrError(message, "" if error.hint in self._told else error.hint))
            self._told |= {error.message, error.hint}

    def end(self, failed: "list[UpscaleTask]", jobs: int, untried: int) -> None:
        """See `Reporter`."""
        if self._watches and self.verbosity:
            console.err.print(f"stopped; {jobs - len(failed)} done")
        if failed and jobs > 1:
            names = ", ".join(str(job.source) for job in failed)
            console.err.print(f"{len(failed)} of {jobs} failed: {names}", markup=False)
        if untried:
            console.err.print(f"{untried} not tried", markup=False)

    def listed(self, count: int) -> None:
        """See `Reporter`. Now and then, where it takes long."""
        if self.verbosity and count % _LISTED == 0:
            console.err.print(f"{count:,} listed")

    def taken_up(self, name: str, counts: "Counts", new: int, cut: int) -> None:
        """See `Reporter`."""
        told = [f"job {name}: {counts.all:,} images, {counts.left:,} to do"]
        told += [f"{new:,} new"] if new and new < counts.all else []
        told += [f"{cut:,} were in hand when a run was killed"] if cut else []
        if self.verbosity:
            console.err.print(", ".join(told), markup=False)

    def ended(self, name: str | None, counts: "Counts") -> None:
        """See `Reporter`. There may be too many to name."""
        if self.verbosity or counts.failed:
            told = f"job {name}: " if name else ""
            told += f"{counts.done:,} of {counts.all:,} done"
            told += f", {counts.left:,} not tried" if counts.left else ""
            console.err.print(told + (f", {counts.failed:,} failed" if counts.failed else ""), markup=False)
        if counts.failed and name:
            hint = f"`sr jobs show {name}` says why; `sr jobs retry {name}` has them tried again"
            console.err.print(f"hint: {hint}", markup=False)


def _renamed(text: str, names: dict[str, str]) -> str:
    for real, name in names.items():
        text = text.replace(real, name)
    return text


def worst(seams: "list[Seam]") -> "Seam | None":
    """The worst that is left; None where there was only one tile."""
    return max((seam for seam in seams if not seam.again), key=lambda seam: seam.step, default=None)


def _summary(done: "Result", verbosity: int, seam: "Seam | None") -> str:
    old, new = ("x".join(map(str, size)) for size in (done.input_size, done.output_size))
    parts = [f"{old} -> {new}"]
    if done.frames > 1:
        parts.append(f"{done.frames} frames")
    if done.output_depth < done.input_depth or verbosity > 1:
        parts.append(f"{done.input_depth} -> {done.output_depth} bits")
    if seam and verbosity > 1:
        parts.append(f"seams {seam.levels:.3f} of 255")
    return "  ".join([*parts, f"{done.seconds:.1f} s"])


@dataclass
class JsonReporter:
    """For scripts: one JSON object for each image on stdout, one for each event on stderr."""

    model: str = ""
    _names: dict[str, str] = field(default_factory=dict)
    _seams: list["Seam"] = field(default_factory=list)
    _methods: list["Loaded"] = field(default_factory=list)

    def __enter__(self) -> "JsonReporter":
        return self

    def __exit__(self, *reason: object) -> None:
        return

    def called(self, names: dict[str, str]) -> None:
        """See `Reporter`."""
        self._names = names

    def several(self, jobs: int | None) -> None:
        """See `Reporter`."""

    def loading(self) -> None:
        """See `Reporter`."""

    def method(self, method: "Loaded") -> None:
        """See `Reporter`. Once, however many workers say so."""
        if method in self._methods:
            return
        self._methods.append(method)
        self.model = method.name
        _event("method", model=method.name, where=method.where, taken_for=method.about)

    def note(self, words: str) -> None:
        """See `Reporter`."""
        _event("note", text=words)

    def begin(self, job: "UpscaleTask") -> None:
        """See `Reporter`."""
        self._seams = []
        _event("begin", **self._places(job))

    def _places(self, job: "UpscaleTask") -> dict[str, str]:
        places = {"input": str(job.source), "output": str(job.target)}
        return {key: self._names.get(place, place) for key, place in places.items()}

    def progress(self, done: int, total: int) -> None:
        """See `Reporter`."""
        _event("progress", done=done, total=total)

    def seam(self, seam: "Seam") -> None:
        """See `Reporter`."""
        self._seams.append(seam)
        _event("seam", levels=round(seam.levels, 4), overlap=seam.overlap, again=seam.again)

    def outcome(self, outcome: "Became") -> None:
        """See `Reporter`."""
        record: dict[str, Any] = {**self._places(outcome.job)}
        record |= _fields(outcome.result, outcome.error, self.model)
        if outcome.error:
            record["error"] = _renamed(outcome.error.message, self._names)
        seam = worst(self._seams)
        _print(sys.stdout, record | ({"seam": round(seam.levels, 4)} if seam and outcome.result else {}))

    def watching(self, folders: list[Path]) -> None:
        """See `Reporter`."""
        _event("watching", folders=[str(folder) for folder in folders])

    def idle(self) -> None:
        """See `Reporter`."""

    def trouble(self, error: SrError) -> None:
        """See `Reporter`."""
        _event("trouble", error=error.message, hint=error.hint)

    def end(self, failed: "list[UpscaleTask]", jobs: int, untried: int) -> None:
        """See `Reporter`."""
        _event("end", jobs=jobs, failed=len(failed), untried=untried)

    def listed(self, count: int) -> None:
        """See `Reporter`."""
        if count % _LISTED == 0:
            _event("listed", jobs=count)

    def taken_up(self, name: str, counts: "Counts", new: int, cut: int) -> None:
        """See `Reporter`."""
        _event("job", job=name, jobs=counts.all, untried=counts.left, new=new, cut=cut)

    def ended(self, name: str | None, counts: "Counts") -> None:
        """See `Reporter`."""
        _event("end", job=name, jobs=counts.all, done=counts.done, failed=counts.failed, untried=counts.left)


def _fields(done: "Result | None", error: SrError | None, model: str) -> dict[str, Any]:
    if error:
        return {"status": "failed", "error": error.message, "hint": error.hint}
    if done is None:
        return {"status": "skipped"}
    return {
        "status": "done", "model": model, "from": done.input_size, "to": done.output_size,
        "depth": done.output_depth, "frames": done.frames, "seconds": round(done.seconds, 3),
    }  # fmt: skip


def _event(name: str, **fields: Any) -> None:
    _print(sys.stderr, {"event": name} | fields)


def _print(stream: TextIO, record: dict[str, Any]) -> None:
    # Escaped, so that names which are no text at all can be written anywhere.
    print(json.dumps(record), file=stream, flush=True)
