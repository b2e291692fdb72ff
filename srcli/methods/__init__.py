"""Name -> method: interpolators and networks alike are functions of pixels and a scale."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from srcli import archs, manifest
from srcli.engine import device
from srcli.engine.runtimes import select
from srcli.engine.runtimes.base import Runtime
from srcli.engine.runtimes.select import RuntimeRequest, WeightsSource
from srcli.engine.seams import Report
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Sides, Upscaler
from srcli.engine.weights import files as weights
from srcli.engine.weights import lut, spandrel
from srcli.errors import UsageError, WeightsError
from srcli.imaging import rows
from srcli.imaging.pixels import Pixels
from srcli.imaging.resize import KERNELS
from srcli.imaging.rows import Rows
from srcli.methods import classical
from srcli.scales import ANY, format_scale
from srcli.workers.progress import Log, Progress, ignore

if TYPE_CHECKING:
    from torch import nn

LARGEST_SCALE = 32
WEIGHTLESS = (*KERNELS, *classical.METHODS)


@dataclass(frozen=True)
class Method:
    """(H, W, 3) pixels and a scale -> enlarged pixels.

    `params` counts weights; `description` says what runs it; `identified_as`, what a weight file without a
    header was taken for. `stream` does what `run` does with few rows in memory; None if the whole image is
    needed. `to_size` exists if the method reaches any height and width. `stages`: the networks, in order.
    `as_uint8` does what `stream` does, rounded to uint8 on the device; it returns None where it cannot.
    """

    name: str
    run: Callable[[Pixels, float], Pixels]
    params: int = 0
    description: str = "cpu"
    identified_as: str = ""
    stream: Callable[[Rows, float], Rows] | None = None
    to_size: Callable[[Rows, Sides], Rows] | None = None
    stages: tuple[Upscaler, ...] = ()
    as_uint8: Callable[[Rows, float], Rows | None] | None = None

    def __call__(self, pixels: Pixels, scale: float) -> Pixels:
        """`pixels` enlarged to their size times `scale`, rounded; at least one pixel on a side."""
        return self.run(pixels, scale)


@dataclass(frozen=True)
class MethodOptions:
    """How networks are run, and methods without a training set; `vram` and `log` as in `RuntimeRequest`."""

    device: str | None = None
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = ignore
    runtime: str = "auto"
    untrained: classical.UntrainedSettings = classical.UntrainedSettings()
    report: Report = ignore
    vram: int | None = None
    log: Log = ignore


def list_models() -> list[str]:
    """Everything that `--model` takes."""
    return [*WEIGHTLESS, *manifest.models()]


def load_method(name: str, scale: float, options: MethodOptions = MethodOptions()) -> Method:
    """The method of that name, ready to enlarge by `scale`."""
    check_model(name, scale)
    if name in KERNELS:
        return interpolator(name)
    if name in classical.METHODS:
        return untrained(name, options)
    entries = manifest.entries_of(name)
    chain = plan_scale_chain(scale, tuple(entries))
    loaded = {step: _from_entry(entries[step], options) for step in set(chain)}
    return chain_networks(name, [loaded[step] for step in chain])


def load_methods(named: list[str], files: list[Path], scale: float, options: MethodOptions) -> list[Method]:
    """The methods of these names, each once, then those of these weight files."""
    found = [load_method(name, scale, options) for name in dict.fromkeys(named)]
    return found + [load_method_file(file, scale, options) for file in files]


def load_method_file(
    path: Path, scale: float, options: MethodOptions = MethodOptions(), arch: str | None = None
) -> Method:
    """The method of a weight file or a table, which says what it is by its header or by what it fits.

    `arch` is taken for granted where given. Raises `WeightsError` for files that fit no network.
    """
    check_scale(scale)
    if lut.is_table(path):
        return _from_table(path, scale, options, arch)
    specs = weights.specs_of(path, arch)
    if not specs and arch is None:
        state = weights.read_state(path)
        return _from_foreign(path, spandrel.load(state, weights.no_fit(path, state, arch)), scale, options)
    source = _chosen(path, specs, scale, arch)
    step = _step(select.from_file(source, _wanted(options)), source.spec, options)
    return _repeated(path.stem, step, scale, str(source.spec))


def identify_weights(path: Path, scale: float, arch: str | None = None) -> WeightsSource:
    """What a weight file is for, at that scale and no other. Raises `WeightsError` where it fits nothing."""
    source = _chosen(path, weights.specs_of(path, arch), scale, arch)
    if source.spec.scale not in (scale, ANY):
        raise UsageError(f"{path} is for x{source.spec.scale}", "give that scale with -x")
    return source


def _chosen(path: Path, specs: list[archs.Spec], scale: float, arch: str | None) -> WeightsSource:
    if not specs:
        reason = weights.no_fit(path, weights.read_state(path), arch)
        raise WeightsError(reason, f"`sr models info {path}` says what is in it")
    return WeightsSource(path, _at_scale(path, specs, scale))


def locate_weights(name: str, scale: float) -> WeightsSource:
    """The weights of a model at that scale, on this machine. Raises `UsageError` where there are none."""
    check_model(name, scale)
    if name in WEIGHTLESS:
        raise UsageError(f"{name} has no weights", "name a network; `sr models` lists them")
    entries = manifest.entries_of(name)
    entry = manifest.for_scale(entries, scale)
    if entry is None:
        known = ", ".join(map(format_scale, entries))
        raise UsageError(f"{name} has no weights for x{scale}", f"it has them for {known}")
    return _entry_source(entry)


def _entry_source(entry: manifest.Entry) -> WeightsSource:
    spec = archs.Spec(entry.arch, entry.scale, entry.config)
    return WeightsSource(weights.locate(entry), spec, entry.digest, entry.packed)


def _at_scale(path: Path, specs: list[archs.Spec], scale: float) -> archs.Spec:
    """The one of `specs` for `scale`, or the only one there is."""
    fitting = [spec for spec in specs if spec.scale == scale] or specs
    if len(fitting) == 1:
        return fitting[0]
    if len({spec.arch for spec in fitting}) > 1:
        raise UsageError(f"{path} fits {' and '.join(map(str, fitting))}", "say which with --arch")
    known = ", ".join(f"x{spec.scale}" for spec in fitting)
    raise UsageError(f"{path} does not say for which of {known} it is", "give that scale with -x")


def _from_table(path: Path, scale: float, options: MethodOptions, arch: str | None) -> Method:
    spec, step = load_table(path, options)
    if arch not in (None, spec.arch):
        raise WeightsError(f"{path} holds a table of {spec}, not of {arch}", "leave out --arch and --model")
    return _repeated(path.stem, step, scale, str(spec))


def load_table(path: Path, options: MethodOptions) -> tuple[archs.Spec, Upscaler]:
    """What a file's tables are of, and they themselves ready to run; torch stays out of it."""
    from srcli.engine.runtimes.lut import LutRuntime

    if options.device not in (None, "cpu"):
        raise UsageError(f"a table runs on the processor, not on {options.device}", "leave out --device")
    spec, found = lut.read(path)
    return spec, _step(LutRuntime(lut.enlarger(spec, found)), spec, options)


def _from_foreign(path: Path, found: "tuple[nn.Module, int]", scale: float, options: MethodOptions) -> Method:
    network, own_scale = found
    if options.runtime == "ncnn":
        raise UsageError(f"ncnn cannot run {path}: only spandrel knows it", "leave out --runtime")
    traits = archs.Traits((own_scale,), local=False)
    wanted = replace(_wanted(options), device=_first(options.device))
    runtime = select.on_torch(network, own_scale, traits, wanted, "only spandrel knows it")
    step = Upscaler(runtime, own_scale, options.tile, options.self_ensemble, options.progress)
    return _repeated(path.stem, step, scale, f"x{own_scale}, known to spandrel")


def _repeated(name: str, step: Upscaler, scale: float, identity: str) -> Method:
    """One network as often as its own scale takes to reach `scale`; once, where that is any."""
    chain = plan_scale_chain(scale, (step.scale,))
    return replace(chain_networks(name, [step] * len(chain)), identified_as=identity)


def find_arch(name: str) -> str:
    """The network behind a model's or a network's name. Raises `UsageError` for others."""
    if name in archs.names():
        return name
    if name in WEIGHTLESS:
        raise UsageError(f"{name} has no weights", "leave out --weights or --model")
    return next(iter(manifest.entries_of(name).values())).arch


def _from_entry(entry: manifest.Entry, options: MethodOptions) -> Upscaler:
    source = _entry_source(entry)
    return _step(select.from_file(source, _wanted(options)), source.spec, options)


def _first(devices: str | None) -> str | None:
    """Of several, for what can't share its work."""
    return devices.partition(",")[0] if devices else None


def _wanted(options: MethodOptions) -> RuntimeRequest:
    return RuntimeRequest(options.runtime, options.device, options.vram, options.log)


def build_upscaler(network: "nn.Module", spec: archs.Spec, options: MethodOptions) -> Upscaler:
    """A network made ready to run by torch on the device that `options` ask for."""
    runtime = select.on_torch(network, spec.scale, archs.traits(spec.arch), _wanted(options))
    return _step(runtime, spec, options)


def _step(runtime: Runtime, spec: archs.Spec, options: MethodOptions) -> Upscaler:
    return Upscaler(
        runtime, spec.scale, options.tile, options.self_ensemble, options.progress, options.report, spec
    )


def chain_networks(name: str, steps: list[Upscaler]) -> Method:
    """Networks one after the other, and bicubic from what they reach to the size asked for.

    One of any scale is alone, and gives that size itself.
    """
    first = steps[0].runtime
    if steps[0].scale == ANY:
        return _to_any_size(name, steps[0])

    def stream(source: Rows, scale: float) -> Rows:
        out = source
        for step in steps:
            out = step.flow(out).map(_clipped)
        wanted = compute_output_size(source, scale)
        return out if out.shape == wanted else rows.resize_rows(out, *wanted)

    def run(pixels: Pixels, scale: float) -> Pixels:
        return stream(rows.of(pixels), scale).whole()

    steps = [replace(steps[0], beside=True)] if len(steps) == 1 else steps
    *before, last = steps
    rounding = last.as_uint8()

    def as_uint8(source: Rows, scale: float) -> Rows | None:
        out = source
        for step in before:
            out = step.flow(out).map(_clipped)
        exact = (out.height * last.scale, out.width * last.scale) == compute_output_size(source, scale)
        return rounding.flow(out) if rounding and exact else None

    return Method(
        name, run, first.params, first.description, stream=stream, stages=tuple(steps),
        as_uint8=as_uint8 if rounding else None,
    )  # fmt: skip


def _clipped(band: Pixels) -> Pixels:
    return np.clip(band, 0, 1)


def _to_any_size(name: str, step: Upscaler) -> Method:
    def to_size(source: Rows, size: Sides) -> Rows:
        return step.flow(source, size).map(_clipped)

    def stream(source: Rows, scale: float) -> Rows:
        return to_size(source, compute_output_size(source, scale))

    def run(pixels: Pixels, scale: float) -> Pixels:
        return stream(rows.of(pixels), scale).whole()

    return Method(name, run, step.runtime.params, step.runtime.description, stream=stream, to_size=to_size)


def check_model(name: str, scale: float) -> None:
    """Raise `UsageError` for what `load_method` could not find, at no cost."""
    check_scale(scale)
    if name not in list_models():
        near = difflib.get_close_matches(name, list_models(), 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"no model called '{name}'", f"{hint}`sr models` lists all")


def check_own_scale(name: str, scale: float) -> None:
    """Raise `UsageError` where a network would overshoot a whole `scale` and be reduced to it."""
    check_model(name, scale)
    own = tuple(entry.scale for entry in manifest.load() if entry.model == name)
    if own and ANY not in own and scale == int(scale) and math.prod(plan_scale_chain(scale, own)) != scale:
        known = ", ".join(f"x{one}" for one in own)
        raise UsageError(
            f"{name} has no weights for x{scale}", f"it has them for {known}; leave it out, or change -x"
        )


def find_licence(name: str, scale: float) -> str:
    """Of the weights that a model uses at a scale; `none` where it has none."""
    entries = {entry.scale: entry for entry in manifest.load() if entry.model == name}
    if not entries:
        return "none"
    chain = plan_scale_chain(scale, tuple(entries))
    return ", ".join(dict.fromkeys(entries[step].licence for step in chain))


def check_scale(scale: float) -> None:
    """Raise `UsageError` for scales that enlarge nothing or too much."""
    if not (math.isfinite(scale) and 1 < scale <= LARGEST_SCALE):
        raise UsageError(f"cannot enlarge by {scale:g}", f"give a scale above 1, up to {LARGEST_SCALE}")


def compute_output_size(pixels: Pixels | Rows, scale: float) -> Sides:
    """Height and width that `pixels` have when enlarged by `scale`."""
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in pixels.shape[:2])
    return height, width


def interpolator(name: str) -> Method:
    """A classical kernel; 8-bit pixels are rounded after each pass as MATLAB does for uint8."""

    def stream(source: Rows, scale: float) -> Rows:
        return rows.interpolate_rows(source, *compute_output_size(source, scale), name)

    def run(pixels: Pixels, scale: float) -> Pixels:
        return stream(rows.of(pixels), scale).whole()

    return Method(name, run, stream=stream)


def untrained(name: str, options: MethodOptions) -> Method:
    """A method that learns from the image in hand alone. Raises `SrError` where it can't be run here."""
    classical.check_installed(name)
    from srcli.methods.classical import solving

    settings, where = replace(options.untrained, progress=options.progress), "cpu"
    if name in classical.TRAINED:
        chosen = device.choose(_first(options.device))
        settings, where = replace(settings, device=chosen.name), str(chosen)

    def run(pixels: Pixels, scale: float) -> Pixels:
        return solving.enlarge(name, pixels, compute_output_size(pixels, scale), settings)

    return Method(name, run, description=where)


def plan_scale_chain(scale: float, available: tuple[int, ...]) -> tuple[int, ...]:
    """The fewest networks whose scales multiply to `scale` or, among equally few, least above it.

    One of any scale is enough.
    """
    if ANY in available:
        return (ANY,)
    for length in range(1, 6):
        chains = combinations_with_replacement(sorted(available, reverse=True), length)
        enough = [chain for chain in chains if math.prod(chain) >= scale]
        if enough:
            return min(enough, key=math.prod)
    raise UsageError(f"cannot enlarge by {scale:g} with networks for {available}", "give a smaller scale")
