"""Estimates of what enlarging an image takes, before it is done: tiles, operations, time and memory."""

import io
import math
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from time import perf_counter

import numpy as np

from srcli import manifest
from srcli.dataclass import dataclass
from srcli.engine import calibration
from srcli.engine.calibration import Rate
from srcli.engine.device import count_threads
from srcli.engine.measurements import (
    describe_machine,
    measure_once,
    measurement_path,
    read_measurement,
)
from srcli.engine.runtimes.base import Runtime
from srcli.engine.upscaler import Upscaler
from srcli.errors import UsageError
from srcli.imaging.codecs import png
from srcli.imaging.codecs.base import BandedImage, EncodingOptions, Frame, ImageInfo
from srcli.imaging.pixels import Pixels, StoredSamples, to_uint8
from srcli.imaging.size import Size
from srcli.methods import (
    FunctionMethod,
    Interpolator,
    Method,
    MethodOptions,
    Untrained,
    chain_networks,
    load_method,
    plan_scale_chain,
)
from srcli.scales import ANY
from srcli.upscaling.pipeline import Pipeline
from srcli.workers.progress import announce

# The last resort of `choose_model`.
FALLBACK = "bicubic"
_SIDE = 160
_WORTH_COUNTING = 10.0  # seconds
_ROUNDS = 3
# Measured: memory besides the tiles. Rows of tiles of a streamed output, and what a process always has.
_BANDS, _ALWAYS = 4, 25 * 2**20
# Bytes for each pixel of an output: its samples if it is held, all floats if a step needs the whole image,
# and the sums of a self-ensemble.
_SAMPLES, _WHOLE, _ENSEMBLE = 5, 56, 24


@dataclass(frozen=True)
class Estimate:
    """The cost of one image; `operations` are multiplications and additions, 0 if they are not known."""

    model: str
    parameters: int
    operations: int
    tiles: int
    seconds: float
    bytes: int
    streamed: bool


@dataclass(frozen=True)
class PlannedImage:
    """An image file, and the size (width, height) and scale it is to get.

    `needs_whole`: a step after the method needs the whole image.
    """

    info: ImageInfo
    size: Size
    scale: float
    streamed: bool = False
    needs_whole: bool = False


def estimate_image(method: Method | None, image: PlannedImage, count_operations: bool = True) -> Estimate:
    """Estimate what `method` takes, bicubic if it is None, by trials; its stages announce long ones.

    Raises `UsageError` for methods whose time depends on the image, and for networks of any scale.
    """
    info, size = image.info, image.size
    method = _round_on_device(method or Interpolator(FALLBACK), image)
    if isinstance(method, Untrained | FunctionMethod) or any(stage.scale == ANY for stage in method.stages):
        raise UsageError(f"the time that {method.name} takes cannot be estimated", "name a network with -m")
    parts = list(_estimate_stages(method, info.size[::-1], count_operations))
    seconds = sum(part.seconds for part in parts) + _measure_rest(method, image.scale) * math.prod(size)
    memory = max((part.bytes for part in parts), default=_ALWAYS * 2.0) + _ALWAYS
    memory += math.prod(info.size) * len(info.mode) * info.depth / 8
    band = max((part.band for part in parts), default=64 * size[0] * 12)
    held = _WHOLE if image.needs_whole else _SAMPLES
    memory += _BANDS * band if image.streamed else held * math.prod(size)
    memory += _ENSEMBLE * math.prod(size) if any(stage.self_ensemble for stage in method.stages) else 0
    return Estimate(
        method.name, method.params, round(sum(part.operations for part in parts)),
        sum(part.tiles for part in parts), seconds * info.frames, round(memory), image.streamed,
    )  # fmt: skip


def _round_on_device(method: Method, image: PlannedImage) -> Method:
    """Return the method as the pipeline runs it: a single network may return bytes, see `Pipeline`."""
    if len(method.stages) != 1 or image.needs_whole or image.info.depth != 8 or image.info.mode != "RGB":
        return method
    rounding = method.stages[0].as_uint8()
    return chain_networks(method.name, [rounding]) if rounding else method


@dataclass(frozen=True)
class _Part:
    """The cost of one network of a chain; `band` is a row of its output tiles, in bytes."""

    operations: float
    tiles: int
    seconds: float
    bytes: float
    band: float


def _estimate_stages(method: Method, size: tuple[int, int], count_operations: bool) -> Iterator[_Part]:
    height, width = size
    for stage in method.stages:
        enlarged = stage.scale // stage.runtime.info.scale
        yield _estimate_stage(stage, height * enlarged, width * enlarged, count_operations)
        height, width = height * stage.scale, width * stage.scale


def _estimate_stage(stage: Upscaler, height: int, width: int, count_operations: bool) -> _Part:
    rate, runs = measure_rate(stage, height * width), 8 if stage.self_ensemble else 1
    channels, scale = stage.runtime.info.channels, stage.runtime.info.scale
    tiles = stage.plan((height, width), (height * scale, width * scale), stage.tile)
    areas = [(y.stop - y.start) * (x.stop - x.start) for y, x in tiles]
    first = tiles[0][0]
    sample_bytes = 1 if stage.runtime.returns_uint8 else 4
    seconds = runs * sum(map(rate.seconds, areas))
    multiply_adds = _count_multiply_adds(stage, seconds) if count_operations else 0
    return _Part(
        2 * multiply_adds * height * width * runs,
        len(tiles) * runs,
        seconds,
        rate.bytes(max(areas)),
        sample_bytes * channels * (first.keep_stop - first.keep_start) * scale * width * scale,
    )


def measure_rate(stage: Upscaler, pixels: int) -> Rate:
    """Return what tiles take on this machine, by a trial now or earlier; a short one for few `pixels`."""
    return calibration.find_rate(stage.runtime, str(stage.spec), pixels, stage.wait)


def _count_multiply_adds(stage: Upscaler, seconds: float) -> float:
    """Return those for each pixel of the network's input; 0 if they are not known.

    PyTorch counts them, which takes a while to load: that is not done for work of few `seconds`.
    """
    spec = stage.spec
    if spec is None:
        return 0

    def count() -> dict[str, float]:
        from srcli.engine.complexity import count_cost

        side = 64 * stage.runtime.info.scale
        large = side if stage.runtime.info.scale > 1 else 64
        return {"multiply_adds": count_cost(spec, large, large).multiply_adds / 64**2}

    facts = ("operations", spec.arch, spec.scale, spec.config)
    known = read_measurement(measurement_path(facts), math.inf)
    if known is None and "torch" not in sys.modules and (seconds < _WORTH_COUNTING or not find_spec("torch")):
        return 0
    is_loaded = known is not None or "torch" in sys.modules
    with nullcontext() if is_loaded else announce(stage.wait, "loading PyTorch to count operations"):
        return measure_once(facts, count, days=math.inf)["multiply_adds"]


@dataclass(frozen=True)
class NullRuntime(Runtime):
    """A runtime that only repeats pixels, to measure everything around a network."""

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Repeat each pixel `scale` times on both sides."""
        scale = self.info.scale
        for tile in tiles:
            values = to_uint8(tile) if self.returns_uint8 else tile
            yield np.ascontiguousarray(values.repeat(scale, 0).repeat(scale, 1))

    def as_uint8(self) -> "NullRuntime | None":
        """Return itself if it returns bytes."""
        return self if self.returns_uint8 else None


def _measure_rest(method: Method, scale: float) -> float:
    """Return seconds per output pixel of everything but the networks: colours, rounding, compression."""
    stages = [
        replace(stage, runtime=_make_null(stage.runtime), self_ensemble=False) for stage in method.stages
    ]
    empty = chain_networks(method.name, stages) if stages else method
    networks = [(stage.runtime.info, stage.scale) for stage in stages]
    kind = [method.name if not stages else "", *((i.channels, i.scale, own) for i, own in networks)]
    kind += ["bytes"] if any(stage.runtime.returns_uint8 for stage in stages) else []
    facts = ("rest", kind, scale, count_threads(), describe_machine())
    return measure_once(facts, lambda: {"seconds": _time_upscaling(empty, scale)})["seconds"]


def _make_null(runtime: Runtime) -> NullRuntime:
    return NullRuntime(runtime.info, "cpu", returns_uint8=runtime.returns_uint8)


def _time_upscaling(method: Method, scale: float) -> float:
    """Return seconds per output pixel for a small photograph written as PNG, the best of a few rounds."""
    frame = Frame(_draw_sample(), 8)
    side = max(1, math.floor(_SIDE * scale + 0.5))
    pipeline = Pipeline(method, scale, (side, side))
    best = math.inf
    for _ in range(_ROUNDS):
        start = perf_counter()
        image = BandedImage((side, side, 3), 8, pipeline.run(frame).bands())
        png.CODEC.write_rows(io.BytesIO(), image, EncodingOptions())
        best = min(best, perf_counter() - start)
    return best / side**2


def _draw_sample() -> StoredSamples:
    """Draw smooth colours with some noise, as a photograph has."""
    ramp = np.linspace(0, 200, _SIDE)
    noise = np.random.default_rng(0).normal(0, 6, (_SIDE, _SIDE, 3))
    picture = (ramp[:, None, None] + ramp[None, :, None]) / 2 + noise + 20
    return picture.clip(0, 255).astype(np.uint8)


def choose_model(limit: float, images: list[PlannedImage], options: MethodOptions) -> str:
    """Return the best bundled model that takes at most `limit` seconds for all images together.

    Raises `UsageError` if none is fast enough.
    """
    largest = max((image.scale for image in images), default=2.0)
    times: dict[str, float] = {}
    for name in [*_sort_by_quality(largest), FALLBACK]:
        times[name] = estimate_total(name, images, options)
        if times[name] <= limit:
            return name
    fastest = min(times, key=lambda name: times[name])
    raise UsageError(
        f"no model can do this within {limit:g} s; {fastest} would take about {times[fastest]:.1f} s",
        "allow more time, or choose a smaller scale",
    )


def check_time(name: str, limit: float, images: list[PlannedImage], options: MethodOptions) -> None:
    """Raise `UsageError` if a model would take longer than `limit` seconds."""
    needed = estimate_total(name, images, options)
    if needed > limit:
        hint = "leave out -m to use the best model that is fast enough"
        raise UsageError(f"{name} would take about {needed:.1f} s, not {limit:g}", hint)


def estimate_total(name: str, images: list[PlannedImage], options: MethodOptions) -> float:
    """Return the seconds that a model takes for all images."""
    scales = {math.ceil(image.scale) for image in images if image.scale > 1}
    methods = {scale: load_method(name, scale, options) for scale in scales}
    return sum(estimate_image(methods.get(math.ceil(image.scale)), image).seconds for image in images)


def _sort_by_quality(scale: float) -> list[str]:
    """Return the bundled networks, best first by the PSNR that the manifest has of them."""
    psnr = {name: get_quality(name, scale) for name in manifest.list_models()} if scale > 1 else {}
    return sorted((name for name in psnr if psnr[name] > 0), key=lambda name: -psnr[name])


def get_quality(name: str, scale: float) -> float:
    """Return the lowest mean PSNR, in dB, of the networks that a model runs; 0 if one is not bundled."""
    entries = manifest.find_entries(name)
    try:
        chain = plan_scale_chain(scale, tuple(entries))
    except UsageError:
        return 0
    used = [entries[own] for own in chain]
    if not all(entry.bundled and entry.expect and entry.purpose == "classical" for entry in used):
        return 0
    return min(float(np.mean([row["psnr_y"] for row in entry.expect.values()])) for entry in used)
