"""Half precision on a GPU, where a trial shows that the picture stays the same."""

from dataclasses import dataclass, replace

import numpy as np

from srcli.engine.export.check import patch
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.runtimes.torch import Findings, TorchRuntime
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import quantise
from srcli.workers.progress import ignore

# Height and width of what is tried, of a photograph; what may come of it.
_SIDES = (64, 96)
_LEVELS, _DECIBELS = 2, 55.0


@dataclass(frozen=True)
class Trial:
    """How far half precision is from single: `levels` of 8-bit samples, and `decibels` before rounding.

    `overflowed`: it was done again in single precision.
    """

    levels: int
    decibels: float
    overflowed: bool = False

    @property
    def good(self) -> bool:
        """Whether nobody could tell."""
        return not self.overflowed and self.levels <= _LEVELS and self.decibels >= _DECIBELS

    def __str__(self) -> str:
        if self.overflowed:
            return "overflows"
        return f"{min(self.decibels, 199):.0f} dB and {self.levels} of 255 levels from float32"


def try_half(runtime: TorchRuntime, dtype: str = "float16") -> Trial:
    """Both on a photograph. Of half precisions float16 is the one that keeps enough digits.

    Raises `OutOfMemory` where not even that fits.
    """
    tile, findings = patch(*_SIDES, runtime.network), Findings()
    single = replace(runtime, graphs=None, findings=Findings())
    half = replace(single, device=replace(runtime.device, dtype=dtype), findings=findings, log=ignore)
    exact, near = (np.clip(next(one.run([tile])), 0, 1) for one in (single, half))
    levels = int(np.abs(quantise(exact) - quantise(near)).max())
    return Trial(levels, psnr(exact, near), findings.overflowed)


def in_half(runtime: TorchRuntime) -> TorchRuntime:
    """The runtime in half precision where that is good enough, or as it was; its device says why."""
    try:
        found = try_half(runtime)
    except OutOfMemory:
        return runtime
    dtype = "float16" if found.good else runtime.device.dtype
    reason = f"{runtime.device.reason}; float16 in a trial: {found}"
    return replace(runtime, device=replace(runtime.device, dtype=dtype, reason=reason), findings=Findings())
