"""Pretrained networks as methods: chains of fixed scales, and single networks of any scale."""

import math
from dataclasses import replace
from functools import cached_property
from typing import Self

from srcli.dataclass import dataclass
from srcli.engine.upscaler import Sides, Upscaler
from srcli.imaging import rows
from srcli.imaging.rows import Rows
from srcli.methods.base import Method, clip
from srcli.methods.scaling import compute_output_size
from srcli.scales import ANY
from srcli.workers.progress import Progress


@dataclass(frozen=True)
class NetworkChain(Method):
    """A chain of networks, followed by bicubic resizing to the exact target size."""

    def stream(self, source: Rows, scale: float) -> Rows:
        """Run the networks in order, clipping after each, and resize if they overshoot."""
        out, size = _run_all(self.stages, source), compute_output_size(source, scale)
        return out if out.shape == size else rows.resize_rows(out, *size)

    def describe_resize(self, scale: float) -> str:
        """Return the scales of the networks, such as "x4, then resized", if they do not make up the scale."""
        if math.prod(stage.scale for stage in self.stages) == scale:
            return ""
        return f"{' '.join(f'x{stage.scale}' for stage in self.stages)}, then resized"

    def as_uint8(self, source: Rows, size: Sides) -> Rows | None:
        """Round in the last network's runtime, if it can and reaches `size` exactly."""
        last = self._last_as_uint8
        if last is None:
            return None
        out = _run_all(self.stages[:-1], source)
        exact = (out.height * last.scale, out.width * last.scale) == size
        return last.stream(out) if exact else None

    @cached_property
    def _last_as_uint8(self) -> Upscaler | None:
        return self.stages[-1].as_uint8()

    def with_progress(self, progress: Progress) -> Self:
        """Return the same chain, each network of which reports its tiles to `progress`."""
        return replace(self, stages=tuple(replace(stage, progress=progress) for stage in self.stages))


def _run_all(stages: tuple[Upscaler, ...], source: Rows) -> Rows:
    for stage in stages:
        source = stage.stream(source).map(clip)
    return source


@dataclass(frozen=True)
class AnyScaleNetwork(Method):
    """One network that takes the size of its output as an input, so that nothing is resized after it."""

    def stream(self, source: Rows, scale: float) -> Rows:
        """Run the network for the size that `scale` gives."""
        return self.stages[0].stream(source, compute_output_size(source, scale)).map(clip)

    def to_size(self, source: Rows, size: Sides, scale: float) -> Rows:
        """Run the network for `size` itself, whatever its proportions, unless a side is to shrink."""
        if size[0] >= source.height and size[1] >= source.width:
            return self.stages[0].stream(source, size).map(clip)
        return super().to_size(source, size, scale)

    def with_progress(self, progress: Progress) -> Self:
        """Return the same network that reports its tiles to `progress`."""
        return replace(self, stages=(replace(self.stages[0], progress=progress),))


def chain_networks(name: str, stages: list[Upscaler], identified_as: str = "") -> Method:
    """Return the method that runs `stages` in order; a network of any scale has to be alone."""
    if stages[0].scale == ANY:
        return AnyScaleNetwork(name, tuple(stages), identified_as)
    if len(stages) == 1:  # in a longer chain, reading ahead would run the network before on other threads
        stages = [replace(stages[0], prefetch=True)]
    return NetworkChain(name, tuple(stages), identified_as)
