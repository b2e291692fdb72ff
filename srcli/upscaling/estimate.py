"""What enlarging an image will take, before it is done: tiles, operations, time and memory."""

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from srcli import manifest
from srcli.engine import calibration
from srcli.engine.calibration import Rate
from srcli.engine.device import threads
from srcli.engine.upscaler import Upscaler
from srcli.errors import UsageError
from srcli.imaging.codecs import png
from srcli.imaging.codecs.base import Frame, ImageInfo
from srcli.imaging.pixels import Pixels, StoredSamples
from srcli.imaging.size import Size
from srcli.methods import Method, MethodOptions, chain_networks, interpolator, load_method, plan_scale_chain
from srcli.upscaling import streaming

# The last resort of `best`.
PLAIN = "bicubic"
_SIDE = 160
_ROUNDS = 3
# Measured: what is held of an image beside its tiles, in bytes for each pixel of the whole output, or as so
# many times a row of tiles where it is streamed; and what is always there.
_HELD, _BANDS, _ALWAYS = 56, 4, 25 * 2**20


@dataclass(frozen=True)
class Estimate:
    """For one image: `operations` are multiplications and additions, 0 where there is no network."""

    model: str
    parameters: int
    operations: float
    tiles: int
    seconds: float
    bytes: float
    streamed: bool


@dataclass(frozen=True)
class Image:
    """What a file has, the (width, height) wanted of it, by which scale, and whether it is streamed."""

    about: ImageInfo
    size: Size
    scale: float
    streamed: bool


def estimate(method: Method | None, image: Image) -> Estimate:
    """What `method`, or bicubic where there is none, takes, by trials of less than a second each.

    Only what has `flow` is known. Raises `UsageError` for other methods.
    """
    about, size = image.about, image.size
    method = method or interpolator(PLAIN)
    if method.stream is None or (method.params and not method.stages):
        raise UsageError(f"nobody knows how long {method.name} takes", "name a network with -m")
    parts = list(_steps(method, about.size[::-1]))
    spent = sum(part.seconds for part in parts) + _rest(method, image.scale) * math.prod(size)
    held = max((part.bytes for part in parts), default=_ALWAYS * 2.0) + _ALWAYS
    held += math.prod(about.size) * len(about.colours) * about.depth / 8
    band = max((part.band for part in parts), default=64 * size[0] * 12)
    held += _BANDS * band if image.streamed else _HELD * math.prod(size)
    return Estimate(
        method.name, method.params, sum(part.operations for part in parts),
        sum(part.tiles for part in parts), spent * about.frames, held, image.streamed,
    )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """What one network of a chain takes; `band` is a row of its tiles as they come out, in bytes."""

    operations: float
    tiles: int
    seconds: float
    bytes: float
    band: float


def _steps(method: Method, size: tuple[int, int]) -> Iterator[_Part]:
    height, width = size
    for step in method.stages:
        enlarged = step.scale // step.runtime.scale
        yield _part(step, height * enlarged, width * enlarged)
        height, width = height * step.scale, width * step.scale


def _part(step: Upscaler, height: int, width: int) -> _Part:
    rate, turns = rate_of(step), 8 if step.self_ensemble else 1
    channels, scale = step.runtime.channels, step.runtime.scale
    tiles = step.plan((height, width), (height * scale, width * scale), step.tile)
    areas = [(y.stop - y.start) * (x.stop - x.start) for y, x in tiles]
    first = tiles[0][0]
    return _Part(
        2 * _multiply_adds(step) * height * width * turns,
        len(tiles) * turns,
        turns * sum(map(rate.seconds, areas)),
        rate.bytes(max(areas)),
        4 * channels * (first.keep_stop - first.keep_start) * scale * width * scale,
    )


def rate_of(step: Upscaler) -> Rate:
    """What the tiles of a network take here, from this trial or an earlier one."""
    return calibration.rate(step.runtime, str(step.spec))


def _multiply_adds(step: Upscaler) -> float:
    """For each pixel that the network is fed with; counted once, since that needs torch."""
    if step.spec is None:
        return 0
    spec = step.spec

    def count() -> dict[str, float]:
        from srcli.engine.complexity import cost

        side = 64 * step.runtime.scale
        large = side if step.runtime.scale > 1 else 64
        return {"multiply_adds": cost(spec, large, large).multiply_adds / 64**2}

    facts = ("operations", spec.arch, spec.scale, spec.config)
    return calibration.once(facts, count, days=math.inf)["multiply_adds"]


@dataclass(frozen=True)
class _Idle:
    """A runtime that does next to nothing: what is left is what all else takes."""

    scale: int
    halo: int
    alignment: int
    channels: int
    params: int = 0
    description: str = "cpu"
    uniform_tiles: bool = False

    def largest_tile(self, tile: int) -> int:
        return tile

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "_Idle":
        return self

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        for tile in tiles:
            yield np.ascontiguousarray(tile.repeat(self.scale, 0).repeat(self.scale, 1))


def _rest(method: Method, scale: float) -> float:
    """Seconds for each pixel of the output, of all but the networks: colours, rounding, compression."""
    runtimes = [(step.runtime, step) for step in method.stages]
    idle = [
        replace(step, runtime=_Idle(r.scale, r.halo, r.alignment, r.channels), self_ensemble=False)
        for r, step in runtimes
    ]
    empty = chain_networks(method.name, idle) if idle else method
    kind = [method.name if not idle else "", *((r.channels, r.scale, step.scale) for r, step in runtimes)]
    facts = ("rest", kind, scale, threads(), calibration.machine())
    return calibration.once(facts, lambda: {"seconds": _timed(empty, scale)})["seconds"]


def _timed(method: Method, scale: float) -> float:
    """Seconds for each pixel of the output of an image as people have them, written as PNG."""
    sample = Frame(_sample(), 8)
    side = max(1, math.floor(_SIDE * scale + 0.5))
    aim = streaming.Aim(method, scale, (side, side), 1, 8)
    best = math.inf
    for _ in range(_ROUNDS):
        start = perf_counter()
        png.write(io.BytesIO(), png.Header(side, side, 3, 8), streaming.bands(sample, aim), [])
        best = min(best, perf_counter() - start)
    return best / side**2


def _sample() -> StoredSamples:
    """Smooth colours with some noise, as a photograph has."""
    ramp = np.linspace(0, 200, _SIDE)
    noise = np.random.default_rng(0).normal(0, 6, (_SIDE, _SIDE, 3))
    picture = (ramp[:, None, None] + ramp[None, :, None]) / 2 + noise + 20
    return picture.clip(0, 255).astype(np.uint8)


def best(within: float, images: list[Image], options: MethodOptions) -> str:
    """The bundled model of best quality that takes no longer than `within` seconds for all images.

    Raises `UsageError` where none is fast enough.
    """
    largest = max((image.scale for image in images), default=2.0)
    told: dict[str, float] = {}
    for name in [*_by_quality(largest), PLAIN]:
        told[name] = total(name, images, options)
        if told[name] <= within:
            return name
    fastest = min(told, key=lambda name: told[name])
    raise UsageError(
        f"no model does this within {within:g} s; {fastest} would take about {told[fastest]:.1f} s",
        "give more time, or a smaller scale",
    )


def check(name: str, within: float, images: list[Image], options: MethodOptions) -> None:
    """Raise `UsageError` where a model would take longer."""
    needed = total(name, images, options)
    if needed > within:
        hint = "leave out -m: the best model that is done by then is taken"
        raise UsageError(f"{name} would take about {needed:.1f} s, not {within:g}", hint)


def total(name: str, images: list[Image], options: MethodOptions) -> float:
    """Seconds that a model takes for all images."""
    scales = {math.ceil(image.scale) for image in images if image.scale > 1}
    methods = {scale: load_method(name, scale, options) for scale in scales}
    return sum(estimate(methods.get(math.ceil(image.scale)), image).seconds for image in images)


def _by_quality(scale: float) -> list[str]:
    """Bundled networks, the best first by what `sr bench` measured of them, as the manifest has it."""
    found = {name: _quality(name, scale) for name in manifest.models()} if scale > 1 else {}
    return sorted((name for name in found if found[name] > 0), key=lambda name: -found[name])


def _quality(name: str, scale: float) -> float:
    """The lowest mean PSNR of the networks that it takes; 0 where one is not here."""
    entries = manifest.entries_of(name)
    try:
        chain = plan_scale_chain(scale, tuple(entries))
    except UsageError:
        return 0
    used = [entries[step] for step in chain]
    if not all(entry.bundled and entry.expect and entry.purpose == "classical" for entry in used):
        return 0
    return min(float(np.mean([row["psnr_y"] for row in entry.expect.values()])) for entry in used)
