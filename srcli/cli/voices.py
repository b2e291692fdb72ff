"""How a batch speaks: to a person, in lines; to a script, in JSON records."""

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.markup import escape

from srcli.cli import console
from srcli.errors import SrError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from srcli.enlarge import Done
    from srcli.fleet import Outcome
    from srcli.jobs import Job
    from srcli.methods import Method


class Voice(Protocol):
    """What there is to say in the course of a batch. Entered while it runs."""

    def __enter__(self) -> "Voice": ...

    def __exit__(self, *reason: object) -> None: ...

    def loading(self) -> None:
        """A method is going to be loaded, with a bar of its own if it is downloaded."""

    def method(self, method: "Method") -> None:
        """What enlarges, once it is loaded."""

    def begin(self, job: "Job") -> None:
        """An image is taken in hand."""

    def progress(self, done: int, total: int) -> None:
        """Tiles of that image."""

    def outcome(self, outcome: "Outcome[Done | None]") -> None:
        """What became of it; a result of None is an output that was there already."""

    def end(self, failed: "list[Job]", jobs: int, untried: int) -> None:
        """The whole."""


@dataclass
class Lines:
    """For people: results on stdout, talk and a bar on stderr."""

    verbosity: int = 1
    piped: bool = False
    bar: "Progress" = field(default_factory=console.bar)
    _task: "TaskID | None" = None
    _told: set[str] = field(default_factory=set)

    def __enter__(self) -> "Lines":
        if self.verbosity:
            self._task = self.bar.add_task("upscaling")
        return self

    def __exit__(self, *reason: object) -> None:
        self.bar.stop()

    def loading(self) -> None:
        """See `Voice`."""
        self.bar.stop()

    def method(self, method: "Method") -> None:
        """See `Voice`. Said once, however many scales it is loaded for."""
        taken = f", taken for {method.about}," if method.about else ""
        line = f"{method.name}{taken} on {method.where}"
        if self.verbosity and line not in self._told:
            console.talk.print(line, markup=False)
        self._told.add(line)
        if self.verbosity:
            self.bar.start()

    def begin(self, job: "Job") -> None:
        """See `Voice`."""
        if self.verbosity > 1:
            console.talk.print(f"{job.source} -> {job.target}", markup=False)
        if self._task is not None:
            self.bar.update(self._task, description=escape(job.source.name), completed=0)

    def progress(self, done: int, total: int) -> None:
        """See `Voice`."""
        if self._task is not None:
            if done == 1:
                self.bar.reset(self._task)
            self.bar.update(self._task, completed=done, total=total)

    def outcome(self, outcome: "Outcome[Done | None]") -> None:
        """See `Voice`. What is wrong with a folder or a disk is said once, not for every image."""
        if outcome.error:
            if outcome.error.message not in self._told:
                self._told.add(outcome.error.message)
                console.complain(outcome.error)
        elif outcome.result is None:
            self._say(f"{outcome.job.target}  is there already")
        else:
            self._say(f"{outcome.job.target}  {_summary(outcome.result, self.verbosity)}")

    def _say(self, line: str) -> None:
        if self.verbosity:
            (console.talk if self.piped else console.result).print(line, markup=False)

    def end(self, failed: "list[Job]", jobs: int, untried: int) -> None:
        """See `Voice`."""
        if failed and jobs > 1:
            names = ", ".join(str(job.source) for job in failed)
            console.talk.print(f"{len(failed)} of {jobs} failed: {names}", markup=False)
        if untried:
            console.talk.print(f"{untried} not tried", markup=False)


def _summary(done: "Done", verbosity: int) -> str:
    old, new = ("x".join(map(str, size)) for size in (done.old, done.new))
    parts = [f"{old} -> {new}"]
    if done.frames > 1:
        parts.append(f"{done.frames} frames")
    if done.new_depth < done.old_depth or verbosity > 1:
        parts.append(f"{done.old_depth} -> {done.new_depth} bits")
    return "  ".join([*parts, f"{done.seconds:.1f} s"])


@dataclass
class Records:
    """For scripts: one JSON object for each image on stdout, one for each event on stderr."""

    model: str = ""

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *reason: object) -> None:
        return

    def loading(self) -> None:
        """See `Voice`."""

    def method(self, method: "Method") -> None:
        """See `Voice`."""
        self.model = method.name
        _event("method", model=method.name, where=method.where, taken_for=method.about)

    def begin(self, job: "Job") -> None:
        """See `Voice`."""
        _event("begin", input=str(job.source), output=str(job.target))

    def progress(self, done: int, total: int) -> None:
        """See `Voice`."""
        _event("progress", done=done, total=total)

    def outcome(self, outcome: "Outcome[Done | None]") -> None:
        """See `Voice`."""
        record = {"input": str(outcome.job.source), "output": str(outcome.job.target)}
        _print(sys.stdout, record | _fields(outcome.result, outcome.error, self.model))

    def end(self, failed: "list[Job]", jobs: int, untried: int) -> None:
        """See `Voice`."""
        _event("end", jobs=jobs, failed=len(failed), untried=untried)


def _fields(done: "Done | None", error: SrError | None, model: str) -> dict[str, Any]:
    if error:
        return {"status": "failed", "error": error.message, "hint": error.hint}
    if done is None:
        return {"status": "skipped"}
    return {
        "status": "done", "model": model, "from": done.old, "to": done.new, "depth": done.new_depth,
        "frames": done.frames, "seconds": round(done.seconds, 3),
    }  # fmt: skip


def _event(name: str, **fields: Any) -> None:
    _print(sys.stderr, {"event": name} | fields)


def _print(stream: TextIO, record: dict[str, Any]) -> None:
    # Escaped, so that names which are no text at all can be written anywhere.
    print(json.dumps(record), file=stream, flush=True)
