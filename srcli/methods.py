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
from srcli.engine import weights
from srcli.engine.device import choose
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Progress, Upscaler, silent
from srcli.errors import UsageError
from srcli.imaging.image import Image
from srcli.imaging.pixels import Pixels, is_8bit
from srcli.imaging.resize import KERNELS, resize, resize_8bit

if TYPE_CHECKING:
    from torch import nn

LARGEST_SCALE = 32


@dataclass(frozen=True)
class Method:
    """(H, W, 3) pixels and a scale -> enlarged pixels; `params` counts weights, `where` says what runs it."""

    name: str
    run: Callable[[Pixels, float], Pixels]
    params: int = 0
    where: str = "cpu"

    def __call__(self, pixels: Pixels, scale: float) -> Pixels:
        """`pixels` enlarged to their size times `scale`, rounded; at least one pixel on a side."""
        return self.run(pixels, scale)


@dataclass(frozen=True)
class Options:
    """How networks are run; `weights` takes the place of the manifest's file."""

    device: str | None = None
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    weights: Path | None = None
    progress: Progress = silent


def names() -> list[str]:
    """Everything that `--model` takes."""
    return [*KERNELS, *manifest.models()]


def enlarge(image: Image, method: Method, scale: float) -> Image:
    """The image with its pixels through `method`; alpha goes by bicubic, all else is carried over."""
    pixels = np.clip(method(image.pixels, scale), 0, 1)
    alpha = image.alpha
    if alpha is not None:
        alpha = np.clip(resize(alpha, *pixels.shape[:2]), 0, 1)
    return replace(image, pixels=pixels, alpha=alpha)


def find(name: str, scale: float, options: Options = Options()) -> Method:
    """The method of that name, ready to enlarge by `scale`."""
    check_model(name, scale, options.weights)
    if options.weights:
        return _from_file(options.weights, name, scale, options)
    if name in KERNELS:
        return interpolator(name)
    entries = manifest.entries_of(name)
    chain = scale_chain(scale, tuple(entries))
    loaded = {step: _from_entry(entries[step], options) for step in set(chain)}
    return network_method(name, [loaded[step] for step in chain])


def find_all(named: list[str], files: list[Path], scale: int, options: Options) -> list[Method]:
    """The methods of these names, each once, then those of these weight files."""
    found = [find(name, scale, options) for name in dict.fromkeys(named)]
    return found + [find(file.stem, scale, replace(options, weights=file)) for file in files]


def _from_entry(entry: manifest.Entry, options: Options) -> Upscaler:
    spec = weights.Spec(entry.arch, entry.scale, entry.config)
    return upscaler(weights.load(weights.locate(entry), spec), spec, options)


def _from_file(path: Path, name: str, scale: float, options: Options) -> Method:
    """Our own files say what they are; for others `name` is the network and `scale` theirs."""
    spec = weights.read_spec(path)
    if spec is None:
        if name not in archs.names():
            raise UsageError(
                f"{path} does not say what it is", f"add -m with one of: {' '.join(archs.names())}"
            )
        spec = weights.Spec(name, int(scale))
    chain = scale_chain(scale, (spec.scale,))
    step = upscaler(weights.load(path, spec), spec, options)
    return network_method(path.stem, [step] * len(chain))


def upscaler(network: "nn.Module", spec: weights.Spec, options: Options) -> Upscaler:
    """A network made ready to run on the device that `options` ask for."""
    from srcli.engine.runtimes.torch import prepare

    traits = archs.traits(spec.arch)
    device = choose(options.device, traits.half_safe)
    runtime = prepare(network, 1 if traits.pre_upsampled else spec.scale, device)
    return Upscaler(runtime, spec.scale, options.tile, options.self_ensemble, options.progress)


def network_method(name: str, steps: list[Upscaler]) -> Method:
    """Networks one after the other, and bicubic from what they reach to the size asked for."""

    def run(pixels: Pixels, scale: float) -> Pixels:
        out = pixels
        for step in steps:
            out = np.clip(step(out), 0, 1)
        wanted = target_size(pixels, scale)
        return out if out.shape[:2] == wanted else resize(out, *wanted)

    first = steps[0].runtime
    return Method(name, run, first.params, first.where)


def check_model(name: str, scale: float, weights_file: Path | None = None) -> None:
    """Raise `UsageError` for what `find` could not find, at no cost; a weight file speaks for itself."""
    check_scale(scale)
    if weights_file is None and name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"no model called '{name}'", f"{hint}`sr models` lists all")


def check_scale(scale: float) -> None:
    """Raise `UsageError` for scales that enlarge nothing or too much."""
    if not (math.isfinite(scale) and 1 < scale <= LARGEST_SCALE):
        raise UsageError(f"cannot enlarge by {scale:g}", f"give a scale above 1, up to {LARGEST_SCALE}")


def target_size(pixels: Pixels, scale: float) -> tuple[int, int]:
    """Height and width that `pixels` have when enlarged by `scale`."""
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in pixels.shape[:2])
    return height, width


def interpolator(name: str) -> Method:
    """A classical kernel; 8-bit pixels are rounded after each pass as MATLAB does for uint8."""

    def run(pixels: Pixels, scale: float) -> Pixels:
        enlarge = resize_8bit if is_8bit(pixels) else resize
        return enlarge(pixels, *target_size(pixels, scale), name)

    return Method(name, run)


def scale_chain(scale: float, available: tuple[int, ...]) -> tuple[int, ...]:
    """The fewest networks whose scales multiply to `scale` or, among equally few, least above it."""
    for length in range(1, 6):
        chains = combinations_with_replacement(sorted(available, reverse=True), length)
        enough = [chain for chain in chains if math.prod(chain) >= scale]
        if enough:
            return min(enough, key=math.prod)
    raise UsageError(f"cannot enlarge by {scale:g} with networks for {available}", "give a smaller scale")
