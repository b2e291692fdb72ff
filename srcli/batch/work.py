"""The work on one image of a batch, in this process or in a worker."""

import math
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.batch.events import (
    Emit,
    Event,
    ModelLoaded,
    ModelLoading,
    Note,
    Preparation,
    SeamMeasured,
    SkipReason,
    TileDone,
)
from srcli.dataclass import dataclass
from srcli.engine.calibration import is_busy
from srcli.engine.limits import choose_max_pixels
from srcli.engine.measurements import record_speed
from srcli.errors import SrError, wrap_exception
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.codecs.reading import check_readable, read_frames
from srcli.imaging.codecs.writing import check_can_hold, check_writable
from srcli.imaging.picture_kind import examine_picture
from srcli.imaging.pixels import StoredSamples
from srcli.imaging.size import TargetSize
from srcli.methods import Method, MethodOptions, load_method, load_method_file
from srcli.methods.auto import AutoModels
from srcli.storage.locations import Location, exists, open_local_copy
from srcli.upscaling.files import (
    ChosenModel,
    Result,
    UpscaleSettings,
    choose_model,
    is_large_enough,
    upscale_file,
)
from srcli.upscaling.fingerprint import Fingerprint, has_settings, is_own_output, is_up_to_date
from srcli.upscaling.postprocess import Postprocess
from srcli.upscaling.task import UpscaleTask
from srcli.workers import RunInTurn, run_now
from srcli.workers.progress import ignore

if TYPE_CHECKING:
    from srcli.workers.distribute import JobFunction


# An output of fewer pixels says little about the speed of a model.
_LEAST_PIXELS = 200_000


@dataclass(frozen=True)
class BatchSettings:
    """The settings for every image of a batch; can be pickled, so `options` have no callbacks."""

    size: TargetSize
    fingerprint: Fingerprint
    options: MethodOptions
    arch: str | None = None
    encoding: EncodingOptions = EncodingOptions()
    postprocess: Postprocess = Postprocess()
    max_pixels: int | None = None
    stream: bool | None = None
    overwrite: bool = False
    skip_existing: bool = False
    only_enlarge: bool = False
    again: bool = False
    in_place: bool = False
    keep_dates: bool = False
    salvage: bool = False


@dataclass(frozen=True)
class WorkerResult:
    """The answer of a worker for an image: the result, or why it was skipped, and the events so far."""

    result: Result | SkipReason
    events: tuple[Event, ...]


def make_upscale_settings(
    settings: BatchSettings, emit: Emit, run_in_turn: RunInTurn = run_now
) -> UpscaleSettings:
    """Return the settings of the pipeline in this process; models are loaded when they are needed."""
    options = replace(
        settings.options,
        progress=lambda done, total: emit(TileDone(done, total)),
        report=lambda seam: emit(SeamMeasured(seam)),
        log=lambda text: emit(Note(text)),
        wait=lambda text, seconds: emit(Preparation(text, seconds)),
    )
    load = _cache_methods(settings, options, emit, run_in_turn)
    return UpscaleSettings(
        lambda scale: load(settings.fingerprint.model, scale),
        settings.size,
        settings.fingerprint,
        settings.encoding,
        settings.max_pixels,
        options.tile,
        settings.postprocess,
        settings.stream,
        settings.keep_dates,
        settings.salvage,
        partial(_choose, settings.fingerprint.auto, load) if settings.fingerprint.auto else None,
        run_in_turn,
    )


def find_model(source: Location, settings: BatchSettings) -> str:
    """Return the model that `-m auto` takes for an image, from its pixels; auto if none is needed."""
    pipeline = make_upscale_settings(settings, ignore)
    try:
        with open_local_copy(source) as file:
            max_pixels = choose_max_pixels(file, settings.max_pixels)
            samples = next(iter(read_frames(file, max_pixels, salvage=settings.salvage))).samples
        return choose_model(samples, pipeline).fingerprint.model
    except Exception:  # upscaling the image will raise it again and report it
        return settings.fingerprint.model


def _choose(auto: AutoModels, load: Callable[[str, float], Method], samples: StoredSamples) -> ChosenModel:
    picture = examine_picture(samples)
    name = auto.choose(picture)
    return ChosenModel(name, picture.describe(), partial(load, name))


def _cache_methods(
    settings: BatchSettings, options: MethodOptions, emit: Emit, run_in_turn: RunInTurn
) -> Callable[[str, float], Method]:
    """Return a function that loads a model for a scale once; 2.5 and 3 take the same networks.

    A failure is kept, too, as files that overlap would each repeat it.
    """
    methods: dict[tuple[str, int], Method] = {}
    failures: list[SrError] = []

    def load(name: str, scale: float) -> Method:
        key = (name, math.ceil(scale))
        if key in methods:
            return methods[key]
        if failures:
            raise failures[0]
        emit(ModelLoading())
        try:
            method = methods[key] = _load(settings, name, scale, options)
        except Exception as error:
            failure = wrap_exception(error, name)
            failure.affects_all = True
            failures.append(failure)
            raise failure from error
        emit(ModelLoaded(method.name, method.description, method.identified_as))
        return method

    def load_in_turn(name: str, scale: float) -> Method:
        return methods.get((name, math.ceil(scale))) or run_in_turn(partial(load, name, scale))

    return load_in_turn


def _load(settings: BatchSettings, name: str, scale: float, options: MethodOptions) -> Method:
    if settings.fingerprint.weights is None:
        return load_method(name, scale, options)
    return load_method_file(settings.fingerprint.weights, scale, options, settings.arch)


def _record_speed(result: Result) -> None:
    """Keep how fast a model was, for `sr models`, unless the image was small or the machine busy."""
    pixels = math.prod(result.output_size) * result.frames
    if result.model and result.seconds > 0 and pixels >= _LEAST_PIXELS and not is_busy():
        record_speed(result.model, pixels / 1e6 / result.seconds)


def make_job_function(
    settings: BatchSettings, emit: Emit, run_in_turn: RunInTurn = run_now
) -> "JobFunction[UpscaleTask, Result | SkipReason]":
    """Return the function that upscales one image; it returns the reason if there is nothing to do."""
    pipeline = make_upscale_settings(settings, emit, run_in_turn)

    def work(task: UpscaleTask, again: bool) -> Result | SkipReason:
        if _is_done(task, settings, again):
            return SkipReason.UP_TO_DATE
        with open_local_copy(task.source) as source:
            reason = find_skip_reason(source, task, settings)
            if reason:
                return reason
            result = upscale_file(replace(task, source=source), pipeline)
        _record_speed(result)
        return result

    return work


def find_skip_reason(source: Path, task: UpscaleTask, settings: BatchSettings) -> SkipReason | None:
    """Return why the image, of which `source` is a local copy, need not be upscaled, if so."""
    if not (task.is_named or settings.again) and is_own_output(source):
        return SkipReason.OWN_OUTPUT
    if settings.only_enlarge and is_large_enough(source, settings.size, settings.max_pixels):
        return SkipReason.LARGE_ENOUGH
    return None


def _is_done(task: UpscaleTask, settings: BatchSettings, again: bool) -> bool:
    """Return whether the output is up to date. Raises `SrError` for failures that show before the work.

    `again`: a worker that was lost may have finished it. Its output is recognised by its fingerprint only, as
    the file may have been there before; only a job's task, if `interrupted`, may be overwritten.
    """
    _check_ends(task, settings.encoding)
    if not exists(task.target):
        return False
    if settings.in_place:
        # The lost worker may have replaced the source: to upscale that once more would be worse than not to.
        return (
            again and isinstance(task.target, Path) and has_settings(task.target, settings.fingerprint.digest)
        )
    may_be_done = settings.skip_existing or again or task.interrupted
    if may_be_done and is_up_to_date(task.source, task.target, settings.fingerprint.digest):
        return True
    if not (settings.overwrite or task.interrupted):
        reason = ", made from another input or with other settings" if settings.skip_existing else ""
        hint = "add --overwrite, or choose another --output"
        if not (task.is_named or settings.skip_existing):  # a folder, probably for the second time
            hint = "add --skip-existing to leave what is up to date, or --overwrite"
        raise SrError(f"{task.target} exists{reason}", hint)
    return False


def _check_ends(task: UpscaleTask, encoding: EncodingOptions) -> None:
    """Raise `SrError` for what cannot be read or written; in a store only names are checked."""
    if isinstance(task.source, Path):
        check_readable(task.source)
    if isinstance(task.target, Path):
        check_writable(task.target, encoding=encoding)
    else:
        check_can_hold(task.target, encoding=encoding)


@dataclass
class _Recorder:
    """Collects the events of an image in a worker, except those only of interest while it is in progress."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        if not isinstance(event, TileDone | ModelLoading):
            self.events.append(event)

    def take(self) -> tuple[Event, ...]:
        """Return the events and forget them."""
        taken, self.events = tuple(self.events), []
        return taken

    def drop_image(self) -> None:
        """Forget the events of an image that failed; that a model was loaded is still news."""
        self.events = [event for event in self.events if isinstance(event, ModelLoaded)]


def set_up_worker(settings: BatchSettings, device: str | None) -> "JobFunction[UpscaleTask, WorkerResult]":
    """Return what a worker with this device runs for each image."""
    recorder = _Recorder()
    own = replace(settings, options=replace(settings.options, device=device))
    work = make_job_function(own, recorder.emit)

    def run(task: UpscaleTask, again: bool) -> WorkerResult:
        recorder.drop_image()
        return WorkerResult(work(task, again), recorder.take())

    return run
