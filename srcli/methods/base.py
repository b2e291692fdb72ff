"""The interface of all upscaling methods."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import field
from typing import ClassVar, Self

import numpy as np

from srcli.dataclass import dataclass
from srcli.engine.seams import Report
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.upscaler import Sides, Upscaler
from srcli.imaging import rows
from srcli.imaging.pixels import Pixels
from srcli.imaging.rows import Rows
from srcli.methods.classical import UntrainedSettings
from srcli.workers.progress import Log, Progress, Wait, ignore


@dataclass(frozen=True)
class MethodOptions:
    """Options for running methods; all of them accept all options and ignore those that do not apply.

    `device`: torch names, separated by commas; None for the fastest. `realism`: from the model's own weights
    (0) to those that make up less (1). `vram`: the most bytes to use of a GPU.
    `pixels`: of all inputs together, if they are known, by which the fastest runtime is chosen.
    `progress` receives the tiles done, `report` the seams between them, `log` the decisions made,
    `wait` what takes long and is done only once. `approximate`: results may be rounded to three digits where
    that is several times as fast; they are to be learned from, not to be kept.
    """

    device: str | None = None
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    realism: float = 0.0
    progress: Progress = ignore
    runtime: str = "auto"
    untrained: UntrainedSettings = UntrainedSettings()
    report: Report = ignore
    vram: int | None = None
    pixels: int | None = None
    log: Log = ignore
    wait: Wait = ignore
    approximate: bool = False


@dataclass(frozen=True)
class Method(ABC):
    """A named way to enlarge images. Pixels are RGB in [0, 1], as arrays (H, W, 3) or as rows of them.

    `stages`: its networks, in order. `identified_as`: what a weight file was recognised as; empty otherwise.
    """

    name: str
    stages: tuple[Upscaler, ...] = ()
    identified_as: str = ""
    # False if the method has to see the whole image before it can return the first row.
    streams: ClassVar[bool] = True

    @property
    def params(self) -> int:
        """Number of weights of its (first) network; 0 if it has none."""
        return self.stages[0].runtime.info.params if self.stages else 0

    @property
    def description(self) -> str:
        """Device, precision and runtime, with the reasons for them."""
        return self.stages[0].runtime.description if self.stages else "cpu"

    def __call__(self, pixels: Pixels, scale: float) -> Pixels:
        """Enlarge an image (H, W, 3) to `compute_output_size(pixels, scale)`."""
        return self.stream(rows.of(pixels), scale).whole()

    @abstractmethod
    def stream(self, source: Rows, scale: float) -> Rows:
        """Enlarge `source` to `compute_output_size(source, scale)`, row by row as they are read."""

    def to_size(self, source: Rows, size: Sides, scale: float) -> Rows:
        """Enlarge `source` by `scale`, then resize the result to `size` (height, width) if it differs."""
        out = self.stream(source, scale)
        return out if out.shape == size else rows.resize_rows(out, *size)

    def describe_resize(self, scale: float) -> str:
        """Return how the result of networks is resized to reach `scale`; empty if it is not."""
        return ""

    def as_uint8(self, source: Rows, size: Sides) -> Rows | None:
        """Return rows of uint8 of that size, rounded on the device; None if the method cannot do that."""
        return None

    def with_progress(self, progress: Progress) -> Self:
        """Return the same method that reports its progress to `progress`."""
        return self


@dataclass(frozen=True)
class FunctionMethod(Method):
    """A plain function of an image (H, W, 3) and a scale as a method, for experiments."""

    run: Callable[[Pixels, float], Pixels] = field(kw_only=True)
    streams: ClassVar[bool] = False

    def stream(self, source: Rows, scale: float) -> Rows:
        """Call the function with the whole image."""
        return rows.of(self.run(source.whole(), scale))


def clip(band: Pixels) -> Pixels:
    """Clip to [0, 1]."""
    return np.clip(band, 0, 1)
