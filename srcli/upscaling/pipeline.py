"""A whole image or file by a method: to any size, with alpha, greys, range of values, frames and metadata."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from srcli.engine.upscaler import turn, turn_back
from srcli.errors import ImageError, UsageError
from srcli.imaging import rows
from srcli.imaging.alpha import bleed_alpha
from srcli.imaging.codecs import registry
from srcli.imaging.codecs.base import BandedImage, Codec, EncodingOptions, Frame, FrameTiming
from srcli.imaging.codecs.reading import MAX_PIXELS, read_frames, read_timing
from srcli.imaging.codecs.writing import check_writable, write_frames, write_rows
from srcli.imaging.image import Image, choose_depth, to_frame, to_image, write_image
from srcli.imaging.metadata.fields import Metadata, scale_metadata
from srcli.imaging.metadata.provenance import add_record
from srcli.imaging.pixels import Pixels, is_grey
from srcli.imaging.postprocess import back_project, blend_with_bicubic, transfer_colours
from srcli.imaging.resize import resize
from srcli.imaging.size import Size, TargetSize
from srcli.methods import LARGEST_SCALE, Method
from srcli.storage.hashing import sha256
from srcli.storage.locations import Location, open_for_upload, open_local_copy
from srcli.upscaling import streaming
from srcli.upscaling.fingerprint import Fingerprint, remember_output
from srcli.upscaling.task import UpscaleTask

LoadMethod = Callable[[float], Method]
# What is white in a map of uncertainty: 25 of 255 levels.
_WHITE = 0.1
# Fields of `Postprocess` that look at all of the picture before any of it is done.
_WANT_ALL = ("consistent", "color_fix", "uncertainty")


@dataclass(frozen=True)
class Postprocess:
    """What to do after the method, see `imaging.finish`; `uncertainty` is where a map of it goes.

    The map is the deviation over the eight orientations of the image; their mean is the result then.
    """

    consistent: bool = False
    color_fix: bool = False
    strength: float = 1.0
    uncertainty: Path | None = None

    def check(self) -> None:
        """Raise `UsageError` for a strength that is none."""
        if not 0 <= self.strength <= 1:
            hint = "0 is bicubic, 1 the network"
            raise UsageError(f"--strength {self.strength:g} is not between 0 and 1", hint)

    def __call__(self, large: Pixels, small: Pixels) -> Pixels:
        """`large`, made of `small`, finished; values in [0, 1]."""
        if self.strength < 1:
            large = blend_with_bicubic(large, small, self.strength)
        if self.color_fix:
            large = transfer_colours(small, large)
        return back_project(large, small) if self.consistent else large


@dataclass(frozen=True)
class UpscaleSettings:
    """How every file of a batch is done. `stream`: with few rows held; None where the output is large."""

    load_method: LoadMethod
    target: TargetSize
    fingerprint: Fingerprint
    encoding: EncodingOptions = EncodingOptions()
    max_pixels: int = MAX_PIXELS
    tile: int = 0
    postprocess: Postprocess = Postprocess()
    stream: bool | None = None


@dataclass(frozen=True)
class Result:
    """The outcome of one file: sizes as (width, height), depths in bits, SHA-256 of the source."""

    input_size: Size
    output_size: Size
    input_depth: int
    output_depth: int
    frames: int
    seconds: float
    source_digest: str = ""


@dataclass(frozen=True)
class _Files:
    """What a job is done with: copies of what is in a store, and else its own files."""

    source: Path
    target: Path


def upscale_file(job: UpscaleTask, work: UpscaleSettings) -> Result:
    """Read, enlarge every frame, write. Raises `SrError`; the target appears whole or not at all.

    What is in a store is fetched before, and put there after. An output that can't say what it was made of is
    noted in the cache, unless it is in a store, where that would not find it again.
    """
    start = time.perf_counter()
    with open_local_copy(job.source) as source, open_for_upload(job.target) as target:
        done = _enlarge_here(_Files(source, target), work)
        if target == job.target and not can_carry_record(target, work.encoding):
            remember_output(target, source, work.fingerprint.digest)
        content = sha256(source)
    return replace(done, seconds=time.perf_counter() - start, source_digest=content)


def _enlarge_here(job: _Files, work: UpscaleSettings) -> Result:
    times = read_timing(job.source)
    check_writable(job.target, frames=times.count, encoding=work.encoding)
    read = read_frames(job.source, work.max_pixels)
    if times.count == 1:
        [only] = read  # to the end of the file, so that the decoder's own copy is freed
        return _stream(only, job, work) if _has_to_stream(only, work) else _enlarge([only], times, job, work)
    _check_held(work, "a file of several frames")
    return _enlarge(read, times, job, work)


def can_carry_record(target: Location, output: EncodingOptions) -> bool:
    """Whether an output has in it what it was made of. Comments do not do: not every depth has them."""
    return not output.strip and "xmp" in registry.find_codec(target).metadata_kinds


def _enlarge(read: Iterable[Frame], times: FrameTiming, job: _Files, work: UpscaleSettings) -> Result:
    """With whole frames in memory."""
    form = registry.find_codec(job.target)
    made: list[Frame] = []
    for image in map(to_image, read):
        shown = _fit_for(image, form)
        size = work.target.resolve(image.size)
        check_writable(job.target, shown.alpha is not None, times.count, work.encoding, size)
        result = upscale_image(shown, work.load_method, work.target, work.postprocess)
        if not made:
            first = (image.size, result.size, image.depth)
            about = _with_record(result.metadata, image.size, result.size, job, work)
            result = replace(result, metadata=about)
        made.append(to_frame(result, job.target, work.encoding))
    write_frames(job.target, made, times, work.encoding)
    return Result(*first, made[0].depth, len(made), 0)


def _has_to_stream(only: Frame, work: UpscaleSettings) -> bool:
    old = (only.samples.shape[1], only.samples.shape[0])
    return decide_streaming(1, old, work.target.resolve(old), work)


def decide_streaming(count: int, old: Size, new: Size, work: UpscaleSettings) -> bool:
    """Whether rows of a file of so many frames are made as they are written.

    Raises `UsageError` where that is asked for and can't be.
    """
    if work.stream is False or (work.stream is None and math.prod(new) < streaming.LARGE):
        return False
    scale = compute_scale(old, new, work.target)
    wants_all = [f"--{name.replace('_', '-')}" for name in _WANT_ALL if getattr(work.postprocess, name)]
    wants_all += ["a file of several frames"] if count > 1 else []
    if not wants_all and scale > 1 and work.load_method(scale).stream is None:
        wants_all = [work.load_method(scale).name]
    _check_held(work, *wants_all)
    return not wants_all


def _check_held(work: UpscaleSettings, *wants_all: str) -> None:
    if work.stream and wants_all:
        raise UsageError(f"{wants_all[0]} needs the whole picture in memory", "leave out --stream")


def _stream(only: Frame, job: _Files, work: UpscaleSettings) -> Result:
    """With few rows in memory."""
    shown = _without_idle_alpha(only, registry.find_codec(job.target))
    old: Size = (shown.samples.shape[1], shown.samples.shape[0])
    size = work.target.resolve(old)
    shape = streaming.shape(shown, size)
    check_writable(job.target, len(shape) == 3 and shape[2] in (2, 4), 1, work.encoding, size)
    scale = compute_scale(old, size, work.target)
    depth = choose_depth(only.depth, job.target, work.encoding)
    method = work.load_method(scale) if scale > 1 else None
    aim = streaming.Aim(method, scale, size, work.postprocess.strength, depth)
    about = _with_record(scale_metadata(only.metadata, old, size), old, size, job, work)
    write_rows(job.target, BandedImage(shape, depth, streaming.bands(shown, aim), about), work.encoding)
    return Result(old, size, only.depth, depth, 1, 0)


def _without_idle_alpha(stored: Frame, form: Codec) -> Frame:
    """`_fit_for` of samples."""
    samples = stored.samples
    if form.has_alpha or samples.ndim == 2 or samples.shape[2] not in (2, 4):
        return stored
    top = {"uint8": 255, "uint16": 65535}.get(samples.dtype.name, 1)
    if samples[..., -1].min() < top:
        return stored
    colours = samples[..., 0] if samples.shape[2] == 2 else samples[..., :3]
    return replace(stored, samples=colours)


def _fit_for(image: Image, form: Codec) -> Image:
    """Without an alpha channel that hides nothing, where the format has none."""
    if image.alpha is None or form.has_alpha or image.alpha.min() < 1:
        return image
    return replace(image, alpha=None)


def _with_record(metadata: Metadata, old: Size, new: Size, job: _Files, work: UpscaleSettings) -> Metadata:
    scale = compute_scale(old, new, work.target)
    where = work.load_method(scale).description if scale > 1 else ""
    record = work.fingerprint.record(job.source, old, scale, where, work.tile)
    return add_record(metadata, record, registry.find_codec(job.target))


def upscale_image(
    image: Image, find: LoadMethod, wanted: TargetSize, finish: Postprocess = Postprocess()
) -> Image:
    """`image` at the size that is wanted, by the method that `find` has for that scale.

    What is wanted smaller than it is gets reduced by bicubic. Raises `ImageError` for absurd sizes.
    """
    size = wanted.resolve(image.size)
    scale = compute_scale(image.size, size, wanted)
    source = image.pixels if image.alpha is None else bleed_alpha(image.pixels, image.alpha)
    method = find(scale) if scale > 1 else None
    if method and finish.uncertainty:
        method = replace(method, run=_spread(method, finish.uncertainty), to_size=None)
    pixels = _in_range(source, lambda values: _at_size(values, method, scale, size, finish))
    if is_grey(source):
        # To the bit, whatever a network for colours makes of it.
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    alpha = None if image.alpha is None else np.clip(resize(image.alpha, size[1], size[0]), 0, 1)
    return replace(
        image,
        pixels=pixels,
        alpha=alpha,
        metadata=scale_metadata(image.metadata, image.size, pixels.shape[1::-1]),
    )


def compute_scale(old: Size, new: Size, wanted: TargetSize) -> float:
    """By how much a method is asked to enlarge. Raises `ImageError` for absurd sizes."""
    scale = wanted.scale or max(new[0] / old[0], new[1] / old[1])
    if scale > LARGEST_SCALE:
        sizes = f"{old[0]}x{old[1]} to {new[0]}x{new[1]}"
        raise ImageError(f"{sizes} is more than {LARGEST_SCALE} times", "ask for a smaller size")
    return scale


def _at_size(pixels: Pixels, method: Method | None, scale: float, size: Size, finish: Postprocess) -> Pixels:
    """Values in [0, 1] through the method, to the exact size, and finished where they are enlarged."""
    width, height = size
    if method and method.to_size and height >= pixels.shape[0] and width >= pixels.shape[1]:
        out = method.to_size(rows.of(pixels), (height, width)).whole()
    else:
        out = method(pixels, scale) if method else pixels
    out = np.clip(out if out.shape[:2] == (height, width) else resize(out, height, width), 0, 1)
    return finish(out, pixels) if method else out


def _spread(method: Method, target: Path) -> Callable[[Pixels, float], Pixels]:
    """The method as the mean over eight orientations; the map of their deviation is written to `target`."""

    def run(pixels: Pixels, scale: float) -> Pixels:
        total = squares = np.zeros(1, np.float32)
        for k in range(8):
            out = turn_back(np.clip(method(np.ascontiguousarray(turn(pixels, k)), scale), 0, 1), k)
            total, squares = total + out, squares + out**2
        mean: Pixels = total / np.float32(8)
        deviation = np.sqrt(np.maximum(squares / 8 - mean**2, 0)).mean(axis=2, keepdims=True)
        write_image(target, Image(np.repeat(np.clip(deviation / _WHITE, 0, 1), 3, axis=2), grey=True))
        return mean

    return run


def _in_range(pixels: Pixels, work: Callable[[Pixels], Pixels]) -> Pixels:
    """`work`, which knows values in [0, 1], on values from 0 to any height.

    Light beyond 1 is compressed by log(1 + x), so that what is dark keeps its share of the range.
    """
    peak = float(pixels.max())
    if peak <= 1:
        return work(np.clip(pixels, 0, 1))
    top = np.log1p(np.float32(peak))
    light: Pixels = np.expm1(work(np.log1p(np.maximum(pixels, 0)) / top) * top)
    return light
