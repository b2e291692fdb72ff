"""`sr upscale --job`: a batch that is kept in a ledger, and goes on from there after whatever ended it."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.cli import console
from srcli.cli.voices import Voice
from srcli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from srcli.enlarge import Done, Work
    from srcli.fleet import Outcome
    from srcli.jobs import Job, Layout
    from srcli.ledger import Counts, Ledger
    from srcli.places import Place

    Do = Callable[[Job], Done | None]

_LONGEST = 500
_DIGEST = "digest"


@dataclass(frozen=True)
class Batch:
    """What is to go where and how, and the ledger of it: a name or a file, None for one that nobody keeps."""

    name: str | None
    inputs: "list[Place]"
    layout: "Layout"
    work: "Work"
    rescan: bool = False


def check(batch: Batch) -> None:
    """Raise `UsageError` for inputs that are not there another time."""
    from srcli.jobs import PIPE

    if batch.name and PIPE in (*batch.inputs, batch.layout.output):
        raise UsageError("--job goes on with files, and stdin and stdout are none", "name files, or a folder")


def run(batch: Batch, do: "Do", voice: Voice) -> int:
    """Every image that is not done yet; the exit code, which is of the whole job."""
    from srcli import ledger

    check(batch)
    with _path(batch.name) as path, ledger.holding(path) as book:
        _take_up(book, _absolute(batch), voice)
        try:
            with voice:
                _each(book, batch.work, do, voice)
        except KeyboardInterrupt:
            on = "the same command" if batch.name else "--skip-existing"
            console.talk.print(f"stopped; {on} goes on from here")
            raise
        finally:
            book.let_go()
        counts = book.counts()
        voice.ended(batch.name, counts)
    return _code(counts)


@contextmanager
def _path(name: str | None) -> Iterator[Path]:
    from srcli import ledger

    if name:
        yield ledger.place_of(name)
        return
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        yield Path(folder, "job.db")


def _absolute(batch: Batch) -> Batch:
    """So that the job means the same from any folder."""
    from srcli.places import whole

    if not batch.name:
        return batch
    output = batch.layout.output
    inputs = [whole(given) for given in batch.inputs]
    return replace(batch, inputs=inputs, layout=replace(batch.layout, output=output and whole(output)))


def _take_up(book: "Ledger", batch: Batch, voice: Voice) -> None:
    """Begin the job or go on with it, and say so."""
    from srcli.jobs import found
    from srcli.ledger import differences

    settings = _settings(batch)
    if book.is_empty:
        book.make(settings | {_DIGEST: batch.work.recipe.digest})
    changed = differences({k: v for k, v in book.settings.items() if k != _DIGEST}, settings)
    if changed:
        hint = "give what it was begun with, or another --job"
        raise UsageError(f"the job {batch.name} is another: {'; '.join(changed)}", hint)
    cut, new = book.recover(), 0
    if batch.rescan or not book.is_listed:
        new = book.take_in(found(batch.inputs, batch.layout))
    if batch.name:
        voice.taken_up(batch.name, book.counts(), new, cut)


def _settings(batch: Batch) -> dict[str, str]:
    """What a job has to be begun and gone on with alike."""
    layout, recipe = batch.layout, batch.work.recipe
    chosen = {
        "inputs": _short(map(str, batch.inputs)),
        "output": str(layout.output or ""),
        "name": layout.name,
        "format": layout.suffix or "",
        "recursive": "yes" if layout.recursive else "",
        "flat": "yes" if layout.flat else "",
        "model": recipe.model,
        "scale": recipe.scale,
        **{key.replace("_", "-"): value for key, value in recipe.options.items()},
        "weights": _short(f"{name} {digest[:12]}" for name, digest in recipe.sums(0).items()),
    }
    return {key: value for key, value in chosen.items() if value}


def _short(names: Iterable[str]) -> str:
    """All of them, or where these are very many, what tells them from others."""
    import hashlib

    text = ", ".join(names)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"


def _each(book: "Ledger", work: "Work", do: "Do", voice: Voice) -> None:
    from srcli.enlarge import says_itself
    from srcli.fleet import each_image
    from srcli.places import exists

    def absent(job: "Job") -> bool:
        return not says_itself(job.target, work.output) and not exists(job.target)

    for outcome in each_image(book.pending(absent), do):
        _note(book, outcome)
        voice.outcome(outcome)


def _note(book: "Ledger", outcome: "Outcome[Done | None]") -> None:
    if outcome.error:
        book.failed(outcome.job, outcome.error)
    elif outcome.result:
        book.done(outcome.job, outcome.result.content, outcome.result.seconds)
    else:
        book.done(outcome.job, None, None)


def _code(counts: "Counts") -> int:
    if not counts.failed and not counts.left:
        return ExitCode.OK
    return ExitCode.PARTLY if counts.done else ExitCode.FAILED
