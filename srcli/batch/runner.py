"""A batch as data: what any process, here or elsewhere, needs to do its images, and what it tells of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from srcli.engine.seams import Seam
from srcli.errors import SrError
from srcli.imaging.codecs.base import MAX_PIXELS, EncodingOptions
from srcli.imaging.codecs.reading import check_readable
from srcli.imaging.codecs.writing import check_can_hold, check_writable
from srcli.imaging.size import TargetSize
from srcli.methods import Method, MethodOptions, load_method, load_method_file
from srcli.storage.locations import Location, canonicalize, exists
from srcli.upscaling.files import Result, UpscaleSettings, upscale_file
from srcli.upscaling.fingerprint import Fingerprint, is_up_to_date
from srcli.upscaling.postprocess import Postprocess
from srcli.upscaling.task import UpscaleTask
from srcli.workers import Outcome

if TYPE_CHECKING:
    from srcli.workers.distribute import JobFunction

# What became of an image; a result of None is an output that was there already.
Became = Outcome[UpscaleTask, Result | None]


@dataclass(frozen=True)
class Batch:
    """How every image is done. `options` without anybody to tell, so that it can be pickled."""

    wanted: TargetSize
    recipe: Fingerprint
    options: MethodOptions
    arch: str | None = None
    output: EncodingOptions = EncodingOptions()
    finish: Postprocess = Postprocess()
    max_pixels: int = MAX_PIXELS
    stream: bool | None = None
    overwrite: bool = False
    skip_existing: bool = False


@dataclass(frozen=True)
class Loaded:
    """A method that was loaded: see `Method`."""

    name: str
    where: str
    about: str


class Listener(Protocol):
    """Who is told what happens in the course of an image."""

    def loading(self) -> None:
        """A method is going to be loaded."""

    def method(self, method: Loaded) -> None:
        """It is."""

    def progress(self, done: int, total: int) -> None:
        """Tiles of the image in hand."""

    def seam(self, seam: Seam) -> None:
        """How tiles of it meet."""

    def note(self, words: str) -> None:
        """What a runtime has found out."""


def work_of(batch: Batch, listener: Listener) -> UpscaleSettings:
    """The batch ready to be done in this process; methods are loaded when they are asked for."""
    options = replace(batch.options, progress=listener.progress, report=listener.seam, log=listener.note)
    found = _remembered(batch, options, listener)
    return UpscaleSettings(
        found, batch.wanted, batch.recipe, batch.output, batch.max_pixels, options.tile, batch.finish,
        batch.stream,
    )  # fmt: skip


def _remembered(batch: Batch, options: MethodOptions, listener: Listener) -> Callable[[float], Method]:
    """Methods loaded when first asked for. Scales between two whole numbers take the same networks."""
    loaded: dict[int, Method] = {}

    def remembered(scale: float) -> Method:
        key = math.ceil(scale)
        if key not in loaded:
            listener.loading()
            try:
                method = _method(batch, scale, options)
            except SrError as error:
                error.affects_all = True
                raise
            loaded[key] = method
            listener.method(Loaded(method.name, method.description, method.identified_as))
        return loaded[key]

    return remembered


def _method(batch: Batch, scale: float, options: MethodOptions) -> Method:
    if batch.recipe.weights is None:
        return load_method(batch.recipe.model, scale, options)
    return load_method_file(batch.recipe.weights, scale, options, batch.arch)


def doing(batch: Batch, listener: Listener) -> "JobFunction[UpscaleTask, Result | None]":
    """What is done with each job."""
    work = work_of(batch, listener)

    def do(job: UpscaleTask, again: bool) -> Result | None:
        return None if _is_there(job, batch, again) else upscale_file(job, work)

    return do


def _is_there(job: UpscaleTask, batch: Batch, again: bool) -> bool:
    """Whether the output is done already. Raises `SrError` for what can be known to fail before the work.

    What a worker that was lost had finished is told by its content, as it might have been there before; only
    of a job of a ledger is it known that it was not.
    """
    _check_ends(job, batch.output)
    if not exists(job.target):
        return False
    if (batch.skip_existing or again or job.interrupted) and is_up_to_date(
        job.source, job.target, batch.recipe.digest
    ):
        return True
    if not (batch.overwrite or job.interrupted):
        other = ", made of other content or with other settings" if batch.skip_existing else ""
        raise SrError(f"{job.target} exists{other}", "give --overwrite, or another --output")
    return False


def _check_ends(job: UpscaleTask, output: EncodingOptions) -> None:
    """Raise `SrError` for what can't be read or written; of what is in a store only its name is looked at."""
    if isinstance(job.source, Path):
        check_readable(job.source)
    if isinstance(job.target, Path):
        check_writable(job.target, encoding=output)
    else:
        check_can_hold(job.target, encoding=output)


@dataclass
class Places:
    """All inputs so far, by their keys, none of which may be written to; and whose each output is."""

    sources: set[str] = field(default_factory=set)
    claimed: dict[Location, Location] = field(default_factory=dict)

    def check(self, job: UpscaleTask) -> None:
        """Raise `SrError` where the output is an input, or another's output; remember both."""
        source, target = canonicalize(job.source), job.target
        self.sources.add(source)
        if self.claimed.setdefault(target, job.source) != job.source:
            both = f"{self.claimed[target]} and {job.source}"
            raise SrError(f"{both} would both become {target}", "rename one of them")
        if not exists(target):
            return
        if canonicalize(target) == source:
            raise SrError(f"{target} is the input itself", "choose another --output")
        if canonicalize(target) in self.sources:
            raise SrError(f"{target} is an input too", "choose another --output")


class Unchecked(Places):
    """Of jobs in a ledger, which holds each input and each output once: nothing is remembered here."""

    def check(self, job: UpscaleTask) -> None:
        """Raise `SrError` where the output is the input."""
        if canonicalize(job.source) == canonicalize(job.target):
            raise SrError(f"{job.target} is the input itself", "choose another --output")


@dataclass(frozen=True)
class Made:
    """What a worker says of an image: what was done, and what was heard meanwhile."""

    done: Result | None
    loaded: tuple[Loaded, ...] = ()
    seams: tuple[Seam, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Heard:
    """A listener in a worker: what it hears of an image goes with the result."""

    loaded: list[Loaded] = field(default_factory=list)
    seams: list[Seam] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def loading(self) -> None:
        """See `Listener`."""

    def method(self, method: Loaded) -> None:
        """See `Listener`."""
        self.loaded.append(method)

    def progress(self, done: int, total: int) -> None:
        """See `Listener`."""

    def seam(self, seam: Seam) -> None:
        """See `Listener`."""
        self.seams.append(seam)

    def note(self, words: str) -> None:
        """See `Listener`."""
        self.notes.append(words)

    def all_of(self, done: Result | None) -> Made:
        """What was done and heard; it is forgotten here."""
        made = Made(done, tuple(self.loaded), tuple(self.seams), tuple(self.notes))
        for each in (self.loaded, self.seams, self.notes):
            each.clear()
        return made


def begin(batch: Batch, device: str | None) -> "JobFunction[UpscaleTask, Made]":
    """What a worker that has this device does with each job."""
    heard = _Heard()
    do = doing(replace(batch, options=replace(batch.options, device=device)), heard)

    def made(job: UpscaleTask, again: bool) -> Made:
        heard.seams.clear()  # of an image that failed
        return heard.all_of(do(job, again))

    return made
