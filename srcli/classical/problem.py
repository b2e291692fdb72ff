"""One image to be enlarged without a training set: what is given, what is known, and the time there is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srcli.classical.operators import Blur, Reduction, Side
from srcli.classical.settings import Clock
from srcli.errors import ImageError
from srcli.imaging.pixels import Pixels

# The variance of what rounding to 8 bits does to a value.
ROUNDING = 1 / 255**2 / 12


@dataclass(frozen=True)
class Problem:
    """`small` (h, w, 1 or 3) in [0, 1] is to become `size` = (H, W); `blur` and bicubic made it small."""

    small: Pixels
    size: Side
    blur: Blur | None = None
    seed: int = 0
    device: str = "cpu"
    clock: Clock = Clock()

    @property
    def reduction(self) -> Reduction:
        """How `small` came of what is sought."""
        return Reduction(self.size, self.sides, self.blur)

    @property
    def sides(self) -> Side:
        """Height and width of `small`."""
        height, width = self.small.shape[:2]
        return height, width

    @property
    def scale(self) -> float:
        """How many times larger it gets, on average over both sides."""
        return float(np.sqrt(np.prod(self.size) / np.prod(self.sides)))

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers, the same at every call."""
        return np.random.default_rng(self.seed)

    def check_sides(self, least: int) -> None:
        """Raise `ImageError` for images with too few pixels to learn from."""
        if min(self.sides) < least:
            size = f"{self.sides[1]}x{self.sides[0]}"
            hint = f"a side of {least} is the least; -m ibp, -m tv and networks take any"
            raise ImageError(f"an image of {size} shows too little to learn from", hint)


def reduced(large: Pixels, size: Side, blur: Blur | None) -> NDArray[np.float32]:
    """A large image made small as the given one is thought to have been, 8-bit rounding left out."""
    height, width = large.shape[:2]
    return np.asarray(Reduction((height, width), size, blur)(large), np.float32)
