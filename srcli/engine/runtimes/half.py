"""Half precision: used where a trial on a photograph shows that the picture stays the same."""

from dataclasses import dataclass

import numpy as np

from srcli.engine.runtimes.base import Runtime
from srcli.engine.sample_photo import crop_photo
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import quantise

# Height and width of the crop that is tried.
_SIDES = (64, 96)
# The largest difference in levels of 8 bits, and the least PSNR, that nobody can see.
_MAX_LEVELS, _MIN_DECIBELS = 2, 55.0


@dataclass(frozen=True)
class Trial:
    """The error of half precision against single, in 8-bit levels, and in dB before rounding.

    `overflowed`: the result was not finite, and was computed again in single precision.
    """

    levels: int
    decibels: float
    overflowed: bool = False

    @property
    def is_invisible(self) -> bool:
        """True if nobody could see the difference."""
        close = self.levels <= _MAX_LEVELS and self.decibels >= _MIN_DECIBELS
        return close and not self.overflowed

    def __str__(self) -> str:
        if self.overflowed:
            return "overflows"
        return f"{min(self.decibels, 199):.0f} dB and {self.levels} of 255 levels from float32"


def compare_results(single: Runtime, half: Runtime) -> Trial:
    """Run both on a crop of a photograph, and compare. Raises `OutOfMemory` if not even that fits."""
    tile = crop_photo(*_SIDES, single.info.channels)
    exact, near = (np.clip(next(runtime.run([tile])), 0, 1) for runtime in (single, half))
    levels = int(np.abs(quantise(exact) - quantise(near)).max())
    return Trial(levels, psnr(exact, near))
