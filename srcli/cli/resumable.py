"""`sr upscale --job`: a batch that is kept in a ledger, and goes on from there after whatever ended it."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.cli import console
from srcli.cli.reporters import Reporter
from srcli.cli.runner import outcomes
from srcli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from srcli.batch.job_store import Counts, JobStore
    from srcli.batch.planning import Layout
    from srcli.batch.runner import Batch, Became
    from srcli.storage.locations import Location
    from srcli.upscaling.task import UpscaleTask
    from srcli.workers.config import PoolConfig

_LONGEST = 500
_DIGEST = "digest"


@dataclass(frozen=True)
class Lasting:
    """What is to go where and how, and the ledger of it: a name or a file, None for one that nobody keeps."""

    name: str | None
    inputs: "list[Location]"
    layout: "Layout"
    batch: "Batch"
    rescan: bool = False


def check(lasting: Lasting) -> None:
    """Raise `UsageError` for inputs that are not there another time."""
    from srcli.batch.planning import PIPE

    if lasting.name and PIPE in (*lasting.inputs, lasting.layout.output):
        raise UsageError("--job goes on with files, and stdin and stdout are none", "name files, or a folder")


def run(lasting: Lasting, team: "PoolConfig", voice: Reporter) -> int:
    """Every image that is not done yet; the exit code, which is of the whole job."""
    from srcli.batch import job_store

    check(lasting)
    with _path(lasting.name) as path, job_store.holding(path) as book:
        _take_up(book, _absolute(lasting), voice)
        try:
            with voice:
                _each(book, lasting.batch, team, voice)
        except KeyboardInterrupt:
            on = "the same command" if lasting.name else "--skip-existing"
            console.err.print(f"stopped; {on} goes on from here")
            raise
        finally:
            book.let_go()
        counts = book.counts()
        voice.ended(lasting.name, counts)
    return _code(counts)


@contextmanager
def _path(name: str | None) -> Iterator[Path]:
    from srcli.batch import job_store

    if name:
        yield job_store.place_of(name)
        return
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        yield Path(folder, "job.db")


def _absolute(lasting: Lasting) -> Lasting:
    """So that the job means the same from any folder."""
    from srcli.storage.locations import make_absolute

    if not lasting.name:
        return lasting
    output = lasting.layout.output
    inputs = [make_absolute(given) for given in lasting.inputs]
    return replace(
        lasting, inputs=inputs, layout=replace(lasting.layout, output=output and make_absolute(output))
    )


def _take_up(book: "JobStore", lasting: Lasting, voice: Reporter) -> None:
    """Begin the job or go on with it, and say so."""
    from srcli.batch.job_store import differences
    from srcli.batch.planning import found
    from srcli.storage.files import remove_leftovers

    settings = _settings(lasting)
    if book.is_empty:
        book.make(settings | {_DIGEST: lasting.batch.recipe.digest})
    changed = differences({k: v for k, v in book.settings.items() if k != _DIGEST}, settings)
    if changed:
        hint = "give what it was begun with, or another --job"
        raise UsageError(f"the job {lasting.name} is another: {'; '.join(changed)}", hint)
    for job in book.in_hand():
        if isinstance(job.target, Path):
            remove_leftovers(job.target)
    cut, new = book.recover(), 0
    if lasting.rescan or not book.is_listed:
        new = book.take_in(found(lasting.inputs, lasting.layout), voice.listed)
    if lasting.name:
        voice.taken_up(lasting.name, book.counts(), new, cut)


def _settings(lasting: Lasting) -> dict[str, str]:
    """What a job has to be begun and gone on with alike."""
    layout, recipe = lasting.layout, lasting.batch.recipe
    chosen = {
        "inputs": _short(map(str, lasting.inputs)),
        "output": str(layout.output or ""),
        "name": layout.name,
        "format": layout.suffix or "",
        "recursive": "yes" if layout.recursive else "",
        "flat": "yes" if layout.flat else "",
        "model": recipe.model,
        "scale": recipe.scale,
        **{key.replace("_", "-"): value for key, value in recipe.options.items()},
        "weights": _short(f"{name} {digest[:12]}" for name, digest in recipe.weight_digests(0).items()),
    }
    return {key: value for key, value in chosen.items() if value}


def _short(names: Iterable[str]) -> str:
    """All of them, or where these are very many, what tells them from others."""
    import hashlib

    text = ", ".join(names)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"


def _each(book: "JobStore", batch: "Batch", team: "PoolConfig", voice: Reporter) -> None:
    from srcli.batch.runner import Unchecked
    from srcli.storage.locations import exists
    from srcli.upscaling.files import can_carry_record

    def absent(job: "UpscaleTask") -> bool:
        return not can_carry_record(job.target, batch.output) and not exists(job.target)

    left = book.counts().left
    with closing(outcomes(book.pending(absent), batch, voice, team, Unchecked(), left)) as became:
        for outcome in became:
            _note(book, outcome)
            voice.outcome(outcome)


def _note(book: "JobStore", outcome: "Became") -> None:
    if outcome.error:
        book.failed(outcome.job, outcome.error)
    elif outcome.result:
        book.done(outcome.job, outcome.result.source_digest, outcome.result.seconds)
    else:
        book.done(outcome.job, None, None)


def _code(counts: "Counts") -> int:
    if not counts.failed and not counts.left:
        return ExitCode.OK
    return ExitCode.PARTLY if counts.done else ExitCode.FAILED
