"""Run a batch that is kept in a job store, and resume it after whatever ended it."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from srcli.batch.events import (
    BatchInterrupted,
    Emit,
    ImageDone,
    ImageFailed,
    ImageFinished,
    ImageSkipped,
    ImagesListed,
    JobDone,
    JobOpened,
)
from srcli.batch.execution import upscale_each
from srcli.batch.job_store import JobStore, describe_differences, find_path, open_locked
from srcli.batch.planning import SkippedEntries, check_not_input, iterate_tasks
from srcli.batch.prepare import BatchPlan
from srcli.batch.request import BatchPolicy
from srcli.batch.summary import Summary
from srcli.errors import SrError, UsageError
from srcli.storage.files import remove_leftovers
from srcli.storage.locations import exists, make_absolute
from srcli.upscaling.files import can_carry_record
from srcli.upscaling.task import UpscaleTask

_MAX_SETTING = 500  # characters
_DIGEST = "digest"


def run_job(batch: BatchPlan, policy: BatchPolicy, emit: Emit, should_stop: Callable[[], bool]) -> Summary:
    """Upscale every image that is not done yet; the summary includes earlier runs.

    A batch without a job name uses a temporary store, which keeps names on disk and not in memory.
    """
    with _find_store(policy.job) as path, open_locked(path) as store:
        _open_job(store, _make_absolute(batch) if policy.job else batch, policy, emit)
        error = None
        try:
            with closing(_run_pending(store, batch, emit, should_stop)) as finished:
                for event in finished:
                    _record(store, event)
                    if isinstance(event, ImageFailed) and event.error.affects_all:
                        error = event.error
        except KeyboardInterrupt:
            counts = store.count()
            emit(BatchInterrupted(counts.done, counts.total, is_job=bool(policy.job)))
            raise
        finally:
            store.release_running()
        counts, unlisted = store.count(), store.unlisted
    emit(JobDone(policy.job, counts))
    return Summary(counts.done, counts.failed, counts.remaining, error=error, unlisted=unlisted)


@contextmanager
def _find_store(name: str | None) -> Iterator[Path]:
    if name:
        yield find_path(name)
        return
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        yield Path(folder, "job.db")


def _make_absolute(batch: BatchPlan) -> BatchPlan:
    """Return a batch that means the same in any working folder."""
    output = batch.layout.output
    layout = replace(batch.layout, output=output and make_absolute(output))
    return replace(batch, inputs=[make_absolute(given) for given in batch.inputs], layout=layout)


def _open_job(store: JobStore, batch: BatchPlan, policy: BatchPolicy, emit: Emit) -> None:
    """Create the job, or make sure that it is the same and take up what was interrupted."""
    settings = _list_settings(batch)
    if store.is_empty:
        store.create(settings | {_DIGEST: batch.settings.fingerprint.digest})
    before = {key: value for key, value in store.settings.items() if key != _DIGEST}
    differences = describe_differences(before, settings)
    if differences:
        hint = "use the settings it was started with, or another --job"
        raise UsageError(f"the job {policy.job} has other settings: {'; '.join(differences)}", hint)
    for task in store.list_running():
        if isinstance(task.target, Path):
            remove_leftovers(task.target)
    interrupted, new = store.recover_interrupted(), 0
    if policy.rescan:
        store.retry_missing()
    if policy.rescan or not store.is_listed or store.unlisted:
        skipped = SkippedEntries()
        listed = iterate_tasks(batch.inputs, batch.layout, skipped)
        refused: list[ImageFailed] = []
        new = store.add(
            listed,
            lambda count: emit(ImagesListed(count)),
            lambda task, error: refused.append(ImageFailed(task, error)),
        )
        skipped.report(emit)
        for failure in refused:
            emit(failure)
        store.unlisted = len(skipped.failures) + len(refused)
    if policy.job:
        emit(JobOpened(policy.job, store.count(), new, interrupted))


def _list_settings(batch: BatchPlan) -> dict[str, str]:
    """Return what has to be the same each time a job is run."""
    layout, fingerprint = batch.layout, batch.settings.fingerprint
    digests = fingerprint.weight_digests(0)
    chosen = {
        "inputs": _shorten(map(str, batch.inputs)),
        "output": str(layout.output or ""),
        "name": layout.name,
        "format": layout.suffix or "",
        "recursive": "yes" if layout.recursive else "",
        "flat": "yes" if layout.flat else "",
        "model": fingerprint.model,
        "scale": fingerprint.scale,
        **{key.replace("_", "-"): value for key, value in fingerprint.options.items()},
        "weights": _shorten(f"{name} {digest[:12]}" for name, digest in digests.items()),
    }
    return {key: value for key, value in chosen.items() if value}


def _shorten(names: Iterable[str]) -> str:
    """Return the names as one string; a very long one is cut and ends with a hash."""
    text = ", ".join(names)
    if len(text) <= _MAX_SETTING:
        return text
    return f"{text[:_MAX_SETTING]}... {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"


def _run_pending(
    store: JobStore, batch: BatchPlan, emit: Emit, should_stop: Callable[[], bool]
) -> Generator[ImageFinished]:
    encoding = batch.settings.encoding

    def owns_target(task: UpscaleTask) -> bool:
        try:
            return not can_carry_record(task.target, encoding) and not exists(task.target)
        except SrError:  # of a store; the image itself will fail, too
            return False

    named = set(map(make_absolute, batch.inputs))
    tasks = (
        replace(task, is_named=make_absolute(task.source) in named)
        for task in store.take_pending(owns_target)
    )
    pending = takewhile(lambda task: not should_stop(), tasks)
    # The store has each source and each target once.
    yield from upscale_each(pending, batch, emit, check_not_input, store.count().remaining)


def _record(store: JobStore, event: ImageFinished) -> None:
    match event:
        case ImageDone(task, result):
            store.mark_done(task, result.source_digest, result.seconds)
        case ImageSkipped(task):
            store.mark_done(task, None, None)
        case ImageFailed(task, error):
            store.mark_failed(task, error)
