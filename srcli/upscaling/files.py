"""One image file in, one enlarged file out."""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from srcli.dataclass import dataclass
from srcli.engine.limits import choose_max_pixels
from srcli.errors import ImageError, UsageError
from srcli.imaging.alpha import flatten_alpha
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import BandedImage, Codec, EncodingOptions, Frame, parse_colour
from srcli.imaging.codecs.color_fit import fit_colors
from srcli.imaging.codecs.reading import check_readable, read_coding, read_frames, read_info, read_timing
from srcli.imaging.codecs.writing import (
    FrameFormat,
    check_writable,
    find_common_format,
    write_frame_stream,
    write_rows,
)
from srcli.imaging.image import choose_depth
from srcli.imaging.metadata.fields import Metadata, scale_metadata
from srcli.imaging.metadata.provenance import add_record
from srcli.imaging.pixels import StoredSamples
from srcli.imaging.size import Size, TargetSize
from srcli.methods import LARGEST_SCALE, Method
from srcli.methods.auto import AUTO
from srcli.storage.hashing import sha256
from srcli.storage.locations import Location, open_for_upload, open_local_copy
from srcli.upscaling.encoding import choose_encoding, describe_lost_metadata
from srcli.upscaling.fingerprint import Fingerprint, remember_output
from srcli.upscaling.pipeline import Pipeline
from srcli.upscaling.postprocess import Postprocess
from srcli.upscaling.task import UpscaleTask
from srcli.workers import RunInTurn, T, run_now

LoadMethod = Callable[[float], Method]


@dataclass(frozen=True)
class ChosenModel:
    """The model for a picture, why it was chosen, and how it is loaded."""

    name: str
    reason: str
    load_method: LoadMethod


ChooseModel = Callable[[StoredSamples], ChosenModel]
# Outputs of at least this many pixels are streamed by default: as floats they take 50 MB, and several times
# that while they are worked on.
STREAMED_PIXELS = 2**22


@dataclass(frozen=True)
class UpscaleSettings:
    """Settings shared by every file of a batch.

    `load_method` returns the method for a scale and should keep what it loaded. `stream`: hold only few rows
    in memory; None to decide by size. `tile` is only recorded. `keep_dates`: local outputs of local files get
    the times of these. `salvage`: of files that were cut off, upscale what is there. `choose` replaces
    `load_method` by that of the model that suits the samples of a frame. `run_in_turn` runs what no two files
    may do at the same time: to enlarge.
    """

    load_method: LoadMethod
    target: TargetSize
    fingerprint: Fingerprint
    encoding: EncodingOptions = EncodingOptions()
    max_pixels: int | None = None
    tile: int = 0
    postprocess: Postprocess = Postprocess()
    stream: bool | None = None
    keep_dates: bool = False
    salvage: bool = False
    choose: ChooseModel | None = None
    run_in_turn: RunInTurn = run_now


@dataclass(frozen=True)
class Result:
    """The outcome of one file: sizes as (width, height), depths in bits, SHA-256 of the source.

    `model` is empty if nothing was enlarged. `notes` say why the model was chosen, what the encoding takes
    from the source, and what the output loses.
    """

    input_size: Size
    output_size: Size
    input_depth: int
    output_depth: int
    frames: int
    seconds: float
    source_digest: str = ""
    model: str = ""
    notes: tuple[str, ...] = ()


def upscale_file(task: UpscaleTask, settings: UpscaleSettings) -> Result:
    """Read a file, enlarge every frame, write the result. Raises `SrError`; the target is whole or missing.

    Remote sources are downloaded before, remote targets uploaded after. A local output that cannot carry a
    record of its making is remembered in the cache.
    """
    start, clock = time.perf_counter(), _IdleClock()
    settings = replace(
        settings,
        load_method=clock.watch(settings.load_method),
        choose=clock.watch_choice(settings.choose) if settings.choose else None,
        run_in_turn=clock.watch_turns(settings.run_in_turn),
    )
    with open_local_copy(task.source) as source, open_for_upload(task.target) as target:
        check_readable(source)
        # Both before, as an output may replace its source.
        digest, state = sha256(source), source.stat()
        result = _upscale_local(source, target, settings)
        if settings.keep_dates and source == task.source and target.is_file():
            os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
        if target == task.target and not can_carry_record(target, settings.encoding):
            remember_output(target, digest, settings.fingerprint.digest)
    return replace(result, seconds=time.perf_counter() - start - clock.seconds, source_digest=digest)


@dataclass
class _IdleClock:
    """The time for loading methods and for waiting for turns: that is no part of an image's time."""

    seconds: float = 0.0

    def watch(self, load: LoadMethod) -> LoadMethod:
        """Return a function that does the same and adds its time."""

        def load_timed(scale: float) -> Method:
            start = time.perf_counter()
            try:
                return load(scale)
            finally:
                self.seconds += time.perf_counter() - start

        return load_timed

    def watch_choice(self, choose: ChooseModel) -> ChooseModel:
        """Return a function that chooses the same model, whose loading is watched."""

        def choose_watched(samples: StoredSamples) -> ChosenModel:
            chosen = choose(samples)
            return replace(chosen, load_method=self.watch(chosen.load_method))

        return choose_watched

    def watch_turns(self, run_in_turn: RunInTurn) -> RunInTurn:
        """Return a function that does the same and adds the time before a turn."""

        def run_watched(function: Callable[[], T], /) -> T:
            start = time.perf_counter()

            def run() -> T:
                self.seconds += time.perf_counter() - start
                return function()

            return run_in_turn(run)

        return run_watched


def choose_model(samples: StoredSamples, settings: UpscaleSettings) -> UpscaleSettings:
    """Return settings with the model that suits a frame, if the choice is left to it and it is enlarged."""
    if settings.choose is None:
        return settings
    old: Size = (samples.shape[1], samples.shape[0])
    if not needs_method(compute_scale(old, settings.target.resolve(old), settings.target), settings.target):
        return settings
    chosen = settings.choose(samples)
    fingerprint = settings.fingerprint.for_model(chosen.name, chosen.reason)
    return replace(settings, load_method=chosen.load_method, fingerprint=fingerprint, choose=None)


def is_large_enough(source: Path, target: TargetSize, max_pixels: int | None) -> bool:
    """Return whether no side of an image would grow; that of several frames is judged by the first.

    Raises `ImageError` for one of more than `max_pixels`, if it has to be decoded.
    """

    def fits(size: Size) -> bool:
        return all(new <= old for new, old in zip(target.resolve(size), size, strict=True))

    stored = read_info(source).size
    answers = {fits(stored), fits(stored[::-1])}
    if len(answers) == 1:
        return answers.pop()
    # It depends on whether the image is turned upright, which decoding does.
    height, width = next(iter(read_frames(source, choose_max_pixels(source, max_pixels)))).samples.shape[:2]
    return fits((width, height))


def _upscale_local(source: Path, target: Path, settings: UpscaleSettings) -> Result:
    codec = registry.find_codec(target)
    choice = choose_encoding(*read_coding(source), codec, settings.encoding)
    max_pixels = choose_max_pixels(source, settings.max_pixels)
    settings = replace(settings, encoding=choice.encoding, max_pixels=max_pixels)
    timing = read_timing(source, max_pixels)
    check_writable(target, frames=timing.count, encoding=settings.encoding)
    outputs = _plan_outputs(source, target, timing.count, settings)
    first = next(outputs)
    if first.streamed:
        settings.run_in_turn(lambda: write_rows(target, first.as_bands(), settings.encoding))
    else:
        # Animations are read twice, so that no more than two frames are in memory.
        again = _plan_outputs(source, target, timing.count, settings) if timing.count > 1 else ()
        common = find_common_format(target, (output.format for output in again)) if again else None
        frames = _render(chain([first], outputs), settings.run_in_turn)
        write_frame_stream(target, frames, timing, settings.encoding, common)
    old, new = first.input_size, first.pipeline.size
    lost = "" if settings.encoding.strip else describe_lost_metadata(first.frame.metadata, codec)
    method = first.pipeline.method
    resized = method.describe_resize(settings.target.scale) if method and settings.target.scale else ""
    reason = first.fingerprint.options.get(AUTO)
    chosen = f"{first.fingerprint.model} for {reason}" if reason else ""
    notes = (*filter(None, [chosen]), *choice.notes, *first.frame.notes, *filter(None, [resized, lost]))
    model = method.name if method else ""
    return Result(
        old, new, first.frame.depth, first.pipeline.depth, timing.count, 0, model=model, notes=notes
    )


def _plan_outputs(source: Path, target: Path, count: int, settings: UpscaleSettings) -> "Iterator[_Output]":
    """Yield the plan of each frame, the first with the record of how the output is made."""
    max_pixels = choose_max_pixels(source, settings.max_pixels)
    frames: Iterable[Frame] = read_frames(source, max_pixels, salvage=settings.salvage)
    if count == 1:
        frames = list(frames)  # at the end of the file, the decoder's own copy is freed
    for number, frame in enumerate(frames):
        settings = choose_model(frame.samples, settings)  # the first frame decides for all
        output = _plan_output(frame, target, count, settings)
        yield output if number else _add_record(output, source, target, settings)


def _render(outputs: "Iterable[_Output]", run_in_turn: RunInTurn) -> Iterator[Frame]:
    """Yield the enlarged frames; a frame that is equal to the one before is not enlarged again."""
    before: _Output | None = None
    for output in outputs:
        if before is None or not output.is_same_picture(before):
            samples, before = run_in_turn(partial(_enlarge, output)), output
        yield Frame(samples, output.pipeline.depth, output.metadata)


def _enlarge(output: "_Output") -> StoredSamples:
    return output.pipeline.run(output.frame).whole()


@dataclass(frozen=True)
class _Output:
    """A frame, how it is enlarged, and the metadata of the result."""

    frame: Frame
    pipeline: Pipeline
    metadata: Metadata
    streamed: bool
    fingerprint: Fingerprint

    @property
    def input_size(self) -> Size:
        """Width and height of the frame."""
        return self.frame.samples.shape[1], self.frame.samples.shape[0]

    @property
    def format(self) -> FrameFormat:
        """The format of the enlarged frame."""
        width, height = self.pipeline.size
        colours = 3 if self.frame.has_colours else 1
        return FrameFormat((height, width), self.pipeline.depth, colours, self.frame.has_alpha)

    def is_same_picture(self, other: "_Output") -> bool:
        """Return whether the enlarged frame has the same samples as another."""
        return (self.pipeline, self.frame.depth) == (other.pipeline, other.frame.depth) and np.array_equal(
            self.frame.samples, other.frame.samples
        )

    def as_bands(self) -> BandedImage:
        """Return the enlarged frame to be computed band by band."""
        rows, channels = self.pipeline.run(self.frame), self.frame.samples.shape[2:]
        return BandedImage((*rows.shape, *channels), self.pipeline.depth, rows.bands(), self.metadata)


def _plan_output(frame: Frame, target: Path, frames: int, settings: UpscaleSettings) -> _Output:
    """Raise `SrError` for what can be known to fail before the frame is enlarged."""
    codec = registry.find_codec(target)
    frame = fit_colors(_drop_opaque_alpha(frame, codec), codec)
    if frame.has_alpha and not codec.has_alpha and settings.encoding.background:
        samples = flatten_alpha(frame.samples, parse_colour(settings.encoding.background))
        note = f"transparency flattened on {settings.encoding.background}"
        frame = replace(frame, samples=samples, notes=(*frame.notes, note))
    old: Size = (frame.samples.shape[1], frame.samples.shape[0])
    new = settings.target.resolve(old)
    check_writable(target, frame.has_alpha, frames, settings.encoding, new)
    streamed = decide_streaming(frames, old, new, settings)
    scale = compute_scale(old, new, settings.target)
    method = settings.load_method(scale) if needs_method(scale, settings.target) else None
    depth = choose_depth(frame.depth, target, settings.encoding)
    pipeline = Pipeline(method, scale, new, settings.postprocess.for_method(method), depth)
    return _Output(frame, pipeline, scale_metadata(frame.metadata, old, new), streamed, settings.fingerprint)


def _add_record(output: _Output, source: Path, target: Path, settings: UpscaleSettings) -> _Output:
    """Add the record of how the output was made to its metadata."""
    method, scale = output.pipeline.method, output.pipeline.scale
    record = settings.fingerprint.record(
        source, output.input_size, scale, method.description if method else "", settings.tile
    )
    return replace(
        output, metadata=add_record(output.metadata, record, registry.find_codec(target).metadata_kinds)
    )


def _drop_opaque_alpha(frame: Frame, codec: Codec) -> Frame:
    """Drop an alpha channel that hides nothing if the format has none."""
    if codec.has_alpha or not frame.has_alpha:
        return frame
    opaque = {"uint8": 255, "uint16": 65535}.get(frame.samples.dtype.name, 1)
    if frame.samples[..., -1].min() < opaque:
        return frame
    colours = frame.samples[..., 0] if frame.samples.shape[2] == 2 else frame.samples[..., :3]
    return replace(frame, samples=colours)


def decide_streaming(frames: int, old: Size, new: Size, settings: UpscaleSettings) -> bool:
    """Decide whether the rows of a file with that many frames are written as they are computed.

    Raises `UsageError` if streaming is requested but impossible.
    """
    if settings.stream is False or (settings.stream is None and math.prod(new) < STREAMED_PIXELS):
        return False
    obstacles = settings.postprocess.whole_image_options
    if frames > 1:
        obstacles.append("a file of several frames")
    scale = compute_scale(old, new, settings.target)
    if not obstacles and needs_method(scale, settings.target) and not settings.load_method(scale).streams:
        obstacles.append(settings.load_method(scale).name)
    if settings.stream and obstacles:
        raise UsageError(f"{obstacles[0]} needs the whole image in memory", "leave out --stream")
    return not obstacles


def needs_method(scale: float, target: TargetSize) -> bool:
    """Return whether the method runs: it enlarges, or -x1 asks for a network that keeps the size."""
    return scale > 1 or target.scale == 1


def compute_scale(old: Size, new: Size, target: TargetSize) -> float:
    """Return the scale to ask a method for. Raises `ImageError` above `LARGEST_SCALE`."""
    scale = target.scale or max(new[0] / old[0], new[1] / old[1])
    if scale > LARGEST_SCALE:
        sizes = f"{old[0]}x{old[1]} to {new[0]}x{new[1]}"
        raise ImageError(f"{sizes} is more than {LARGEST_SCALE} times", "ask for a smaller size")
    return scale


def can_carry_record(target: Location, encoding: EncodingOptions) -> bool:
    """Return whether files of that name always contain the record of how they were made.

    Comments do not count, because not every depth of a format has them.
    """
    return not encoding.strip and "xmp" in registry.find_codec(target).metadata_kinds
