"""The reporter of `sr upscale --json`: the events of a batch as JSON records."""

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

from srcli.batch import events
from srcli.cli import records
from srcli.cli.reporters import find_worst_seam, rename
from srcli.storage.json_record import to_record

if TYPE_CHECKING:
    from srcli.engine.seams import Seam
    from srcli.upscaling.files import Result
    from srcli.upscaling.task import UpscaleTask

# Images between two messages while a store is listed.
_LIST_INTERVAL = 100_000


@dataclass
class JsonReporter:
    """Reporter for scripts: one JSON object per image on stdout, one per event on stderr."""

    names: dict[str, str] = field(default_factory=dict)
    _model: str = ""
    _seams: list["Seam"] = field(default_factory=list)
    _models: list[events.ModelLoaded] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        return

    def emit(self, event: events.Event) -> None:
        """Print an event as a record."""
        match event:
            case events.ImageDone(task, result):
                self._print_done(task, result)
            case events.ImageSkipped(task, reason):
                skipped: Any = reason.name.lower()
                print_record(sys.stdout, records.SkippedImage(**self._name_ends(task), reason=skipped))
            case events.ImageFailed(task, error):
                message = rename(error.message, self.names)
                failed = records.FailedImage(**self._name_ends(task), error=message, hint=error.hint)
                print_record(sys.stdout, failed)
            case _:
                record = self._make_event(event)
                if record:
                    print_record(sys.stderr, record)

    def _make_event(self, event: events.Event) -> records.EventRecord | None:  # noqa: PLR0911, PLR0912
        """Return the record of an event; None for those that only a person has to know."""
        match event:
            case events.ModelLoaded() if event not in self._models:  # once, however many workers load it
                self._models.append(event)
                self._model = event.name
                return records.MethodEvent(
                    model=event.name, where=event.device, taken_for=event.identified_as
                )
            case events.ImageStarted(task):
                self._seams = []
                return records.BeginEvent(**self._name_ends(task))
            case events.SeamMeasured(seam):
                self._seams.append(seam)
                levels = round(seam.levels, 4)
                return records.SeamEvent(levels=levels, overlap=seam.overlap, again=seam.again)
            case events.ImagesListed(count) if count % _LIST_INTERVAL == 0:
                return records.ListedEvent(jobs=count)
            case events.FilesIgnored(count, suffixes):
                return records.IgnoredEvent(files=count, suffixes=suffixes)
            case events.JobOpened(name, counts, new, interrupted):
                return records.JobEvent(
                    job=name, jobs=counts.total, untried=counts.remaining, new=new, cut=interrupted
                )
            case events.ModelChosen(name, within):
                return records.ChosenEvent(model=name, within=within)
            case events.Preparation(text, seconds) if seconds is not None:
                return records.PreparedEvent(text=text, seconds=round(seconds, 3))
            case events.Note(text):
                return records.NoteEvent(text=text)
            case events.TileDone(done, total):
                return records.ProgressEvent(done=done, total=total)
            case events.FoldersWatched(folders):
                return records.WatchingEvent(folders=tuple(map(str, folders)))
            case events.FolderFailed(error):
                return records.TroubleEvent(error=error.message, hint=error.hint)
            case events.BatchInterrupted(done, total):
                return records.InterruptedEvent(done=done, jobs=total)
            case events.BatchDone(summary):
                return records.EndEvent(
                    jobs=summary.images,
                    failed=summary.failed,
                    untried=summary.untried,
                    unlisted=summary.unlisted or None,
                )
            case events.JobDone(name, counts):
                return records.EndEvent(
                    jobs=counts.total,
                    failed=counts.failed,
                    untried=counts.remaining,
                    job=name,
                    done=counts.done,
                )
        return None

    def _name_ends(self, task: "UpscaleTask") -> dict[str, Any]:
        ends = {"input": str(task.source), "output": str(task.target)}
        return {key: self.names.get(path, path) for key, path in ends.items()}

    def _print_done(self, task: "UpscaleTask", result: "Result") -> None:
        seam = find_worst_seam(self._seams)
        done = records.DoneImage(
            **self._name_ends(task),
            model=result.model or self._model,
            from_=result.input_size,
            to=result.output_size,
            depth=result.output_depth,
            frames=result.frames,
            seconds=round(result.seconds, 3),
            notes=result.notes or None,
            seam=round(seam.levels, 4) if seam else None,
        )
        print_record(sys.stdout, done)


def print_record(stream: TextIO, record: object) -> None:
    """Print a dataclass as JSON in a line of its own."""
    # Escaped, as file names need not be valid text.
    print(json.dumps(to_record(record)), file=stream, flush=True)
