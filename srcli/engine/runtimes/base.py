"""The interface of a runtime, which takes tiles and yields upscaled tiles in order."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np

from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.errors import SrError
from srcli.imaging.pixels import Pixels
from srcli.scales import Window
from srcli.workers.progress import Log, Wait, ignore


class OutOfMemory(SrError):  # noqa: N818 (torch calls it so)
    """A tile did not fit into the device's memory."""

    @classmethod
    def of_tile(cls, tile: Pixels) -> Self:
        """Return the error for a tile (H, W, C) on the CPU."""
        height, width = tile.shape[:2]
        return cls(f"a tile of {width}x{height} does not fit into memory", "close other programs")


# Networks return values of about 0 to 1, and at most some thousands if fed with values of another range.
_LARGEST_VALUE = 100_000.0


class ImplausibleResult(SrError):  # noqa: N818 (it says what a result is)
    """A network returned NaN, infinity or values far outside [0, 1]."""

    @classmethod
    def of_extremes(cls, lowest: float, highest: float) -> Self:
        """Return the error for a result with these extremes."""
        largest = max(abs(lowest), abs(highest))
        what = f"values up to {largest:.3g}" if math.isfinite(largest) else "NaN or infinity"
        return cls(
            f"the network returns {what} instead of colours",
            "its weights are damaged, or not of this network; `sr models info FILE` shows what they are",
        )


def check_result(tile: Pixels) -> Pixels:
    """Return a tile as it is. Raises `ImplausibleResult` for values that no picture has."""
    if tile.dtype == np.uint8 or not tile.size:
        return tile
    lowest, highest = float(tile.min()), float(tile.max())  # NaN if there is any
    if not (lowest >= -_LARGEST_VALUE and highest <= _LARGEST_VALUE):
        raise ImplausibleResult.of_extremes(lowest, highest)
    return tile


class UnsupportedNetwork(SrError):  # noqa: N818 (it says what a network is)
    """A runtime cannot run a network; the message is the reason, as `description` prints it."""


@dataclass(frozen=True)
class NetworkInfo:
    """The facts about a network that tiling needs.

    `scale`: of its own tensors, so 1 if its input is upscaled first, or `ANY`; `halo`: input pixels around a
    tile that its output depends on; `alignment`: tiles start at multiples of this many input pixels;
    `channels`: 3 for RGB, 1 for luma; `params`: the number of weights. Sides of a tile that are below
    `min_side` or no multiple of `side_multiple` have to be padded for a converted network. `margin`: input
    pixels on each side that the network takes and leaves out of its output; they are added to the sides.
    """

    scale: int
    halo: int
    alignment: int = 1
    channels: int = 3
    params: int = 0
    min_side: int = 1
    side_multiple: int = 1
    margin: int = 0


def pad_tile(tile: Pixels, info: NetworkInfo) -> Pixels:
    """Repeat the edges of a tile (H, W, C) where a network needs more: all of them by its margin."""
    height, width = tile.shape[:2]
    below, right = (_extend(side + 2 * info.margin, info) - side - info.margin for side in (height, width))
    if not any((below, right, info.margin)):
        return tile
    return np.pad(tile, ((info.margin, below), (info.margin, right), (0, 0)), mode="edge")


def _extend(side: int, info: NetworkInfo) -> int:
    """Return the side that a network takes instead of one that is too small or no multiple."""
    return -(-max(side, info.min_side) // info.side_multiple) * info.side_multiple


@dataclass(frozen=True)
class WeightsSource:
    """A weight file and the network it is for.

    `digest`: its SHA-256 if that was verified; `cards`: of the converted networks that ship with it, the
    SHA-256 of their cards by format (see `converted`). `border` is what the network sees beyond the border of
    an image, see `manifest.Entry`.
    """

    path: Path
    spec: Spec
    digest: str | None = None
    cards: Mapping[str, str] = field(default_factory=dict)
    border: str = "zero"


# Writes the network in the format of that name to a path without suffix, or the reason why it cannot.
Converter = Callable[[str, WeightsSource, Path], None]


@dataclass(frozen=True)
class RuntimeRequest:
    """The user's choices, and resources that runtimes may use.

    `runtime`: a name of `select.RUNTIMES`, or `auto`; `vram`: the most bytes of GPU memory to take; `log`
    gets decisions made on the way, and `wait` what takes long; `pixels`: of all inputs together, if they are
    known; `convert` writes networks for the runtimes
    that have formats of their own: without it these run only what was converted before; `approximate`:
    bfloat16 will do.
    """

    runtime: str = "auto"
    device: str | None = None
    vram: int | None = None
    pixels: int | None = None
    log: Log = ignore
    wait: Wait = ignore
    convert: Converter | None = None
    approximate: bool = False


@dataclass(frozen=True)
class Runtime(ABC):
    """A network ready to run. Tiles are (H, W, channels) in [0, 1], and `scale` times as large afterwards.

    `description`: device and precision, with the reasons for them; `uniform_tiles`: tiles of one shape are so
    much faster that it pays to read some pixels more; `returns_uint8`: results are rounded to bytes.
    """

    info: NetworkInfo
    description: str
    uniform_tiles: bool = field(default=False, kw_only=True)
    returns_uint8: bool = field(default=False, kw_only=True)

    @abstractmethod
    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""

    def largest_tile(self, tile: int) -> int:
        """Return the tile side to use if `tile` is the requested side or the default."""
        return tile

    def with_global_stats(self, tiles: Iterable[Pixels]) -> Self:
        """Return the runtime for one image, given all its tiles: its means are taken over the whole image.

        Takes no tile and returns itself if the network has no such means. Raises `OutOfMemory` like `run`.
        """
        return self

    def as_uint8(self) -> "Runtime | None":
        """Return a runtime that rounds like `imaging.pixels.quantise`; None if nothing is gained by it."""
        return None


@runtime_checkable
class Sampler(Protocol):
    """A runtime that can run networks of any scale."""

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """Yield the requested window of each tile's output, in order. Raises like `Runtime.run`."""


class RuntimeClass(Protocol):
    """A class in `select.RUNTIMES`."""

    def reason_against(self, source: WeightsSource, request: RuntimeRequest) -> str | None:
        """Return why the network cannot run here, or should not, in a few words; nothing is loaded yet."""

    def load(self, source: WeightsSource, request: RuntimeRequest, reason: str | None) -> Runtime:
        """Return the network ready to run; `reason` says why this runtime, None if it was the first choice.

        Raises `UnsupportedNetwork` if only the attempt shows that it cannot run.
        """
