"""Settings of the methods without a training set, and the clock that limits their time."""

import math
import re
import time
from collections.abc import Iterator
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal

from srcli.dataclass import dataclass
from srcli.errors import UsageError
from srcli.workers.progress import Progress, ignore

if TYPE_CHECKING:
    from srcli.imaging.degrade.kernels import BlurKernel

AUTO: Literal["auto"] = "auto"
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class UntrainedSettings:
    """Settings of the methods without a training set.

    `within` is the time for one image in seconds, None for no limit. `kernel` is the blur at the large size,
    before bicubic reduced the image: "auto" to estimate it, None for bicubic alone. `device` is a torch name,
    for methods that train a network. `progress` gets the steps done and all steps.
    """

    seed: int = 0
    within: float | None = None
    kernel: "BlurKernel | Literal['auto'] | None" = None
    device: str = "cpu"
    progress: Progress = ignore

    def divide_time(self, images: int) -> "UntrainedSettings":
        """Return the settings for each of `images` if `within` is the time for all of them."""
        return self if self.within is None else replace(self, within=self.within / max(1, images))


def parse_duration(text: str) -> float:
    """Return the seconds of a duration written as `30s`, `1.5m`, `2m30s`, `2h` or plain seconds.

    Raises `UsageError` for others.
    """
    plain = text.lower().replace(" ", "").replace("min", "m")
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", plain)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total <= 0 or "".join(number + unit for number, unit in parts) != plain:
        raise UsageError(f"'{text}' is not a duration", "write it as 30s, 2m or 1.5h")
    return total


@dataclass(frozen=True)
class Clock:
    """The time that one image may take, divided into consecutive parts.

    A part ends when the share `last` of the whole time is over: time saved by one part is left to the next.
    """

    within: float = math.inf
    progress: Progress = ignore
    first: float = 0.0
    last: float = 1.0
    start: float = field(default_factory=time.monotonic)

    def part(self, last: float) -> tuple["Clock", "Clock"]:
        """Return the clock up to `last` of this one's share, and the clock of the rest."""
        cut = self.first + last * (self.last - self.first)
        return replace(self, last=cut), replace(self, first=cut)

    @property
    def left(self) -> float:
        """Seconds until the end of this part; infinite without a limit."""
        return self.start + self.within * self.last - time.monotonic()

    def rounds(self, count: int) -> Iterator[float]:
        """Yield the share that is done, `count` times or while there is time for another; at least once."""
        begun, whole, told = time.monotonic(), self.left, -1
        try:
            for done in range(count):
                used = time.monotonic() - begun
                if done and used + used / done > whole:
                    break
                share = max(done / count, used / whole if whole > 0 else 0)
                told = self._tell(min(share, 1), told)
                yield min(share, 1)
        finally:  # also if the caller stops early
            self._tell(1, told)

    def _tell(self, share: float, told: int) -> int:
        """Report each hundredth once; return the last one reported."""
        now = round(100 * (self.first + share * (self.last - self.first)))
        if now > told:
            self.progress(max(now, 1), 100)
        return now
