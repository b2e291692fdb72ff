"""What methods without a training set are told, and the clock by which they keep to their time."""

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from srcli.errors import UsageError
from srcli.imaging.degrade.kernels import BlurKernel
from srcli.workers.progress import Progress, ignore

AUTO: Literal["auto"] = "auto"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class UntrainedSettings:
    """How images are enlarged without a training set.

    `within` is in seconds for one image, None for as long as it takes. `kernel` is what blurred the image
    at its large size before bicubic reduced it, "auto" to have it estimated, None for bicubic alone.
    `device` is a torch name, for methods that train a network. `progress` is told steps done and in all.
    """

    seed: int = 0
    within: float | None = None
    kernel: BlurKernel | Literal["auto"] | None = None
    device: str = "cpu"
    progress: Progress = ignore

    def divide_time(self, images: int) -> "UntrainedSettings":
        """Return the settings for each of `images` if `within` is the time for all of them."""
        return self if self.within is None else replace(self, within=self.within / max(1, images))


def parse_duration(text: str) -> float:
    """The length of time written as `30s`, `1.5m`, `2m30s`, `2h` or plain seconds.

    Raises `UsageError` for others.
    """
    plain = text.lower().replace(" ", "").replace("min", "m")
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", plain)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0 or "".join(number + unit for number, unit in parts) != plain:
        raise UsageError(f"'{text}' is no length of time", "write it as 30s, 2m or 1.5h")
    return total


@dataclass(frozen=True)
class Clock:
    """The time that one image may take, and whom to tell; work done in parts takes one part after another.

    A part ends where `last` of the whole time is over, so that time which one part saves is left to the next.
    """

    within: float = math.inf
    progress: Progress = ignore
    first: float = 0.0
    last: float = 1.0
    start: float = field(default_factory=time.monotonic)

    def part(self, last: float) -> tuple["Clock", "Clock"]:
        """The clock up to `last` of this one's share, and the one of what follows."""
        cut = self.first + last * (self.last - self.first)
        return replace(self, last=cut), replace(self, first=cut)

    @property
    def left(self) -> float:
        """Seconds until the end of this part; infinite where nothing limits it."""
        return self.start + self.within * self.last - time.monotonic()

    def rounds(self, count: int) -> Iterator[float]:
        """At most `count` times, at least once, while there is time for one more: the share that is done."""
        begun, whole, told = time.monotonic(), self.left, -1
        try:
            for done in range(count):
                used = time.monotonic() - begun
                if done and used + used / done > whole:
                    break
                share = max(done / count, used / whole if whole > 0 else 0)
                told = self._tell(min(share, 1), told)
                yield min(share, 1)
        finally:  # also where the caller has enough
            self._tell(1, told)

    def _tell(self, share: float, told: int) -> int:
        """Whole hundredths, each once."""
        now = round(100 * (self.first + share * (self.last - self.first)))
        if now > told:
            self.progress(max(now, 1), 100)
        return now
