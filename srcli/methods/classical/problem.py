"""One image to enlarge without a training set: what is given, what is known, and the time limit."""

from dataclasses import dataclass

import numpy as np

from srcli.errors import ImageError
from srcli.imaging.pixels import Pixels, from_uint8, is_8bit, to_uint8
from srcli.imaging.resize import resize
from srcli.methods.classical.operators import Blur, Reduction, Side
from srcli.methods.classical.settings import Clock

# The variance of what rounding to 8 bits does to a value.
ROUNDING = 1 / 255**2 / 12
# Sizes of what is learned from, as shares of the given image's.
_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)


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
        """The operator that made `small` from the image to be found."""
        return Reduction(self.size, self.sides, self.blur)

    @property
    def sides(self) -> Side:
        """Height and width of `small`."""
        height, width = self.small.shape[:2]
        return height, width

    @property
    def scale(self) -> float:
        """Enlargement, as the geometric mean of both sides."""
        return float(np.sqrt(np.prod(self.size) / np.prod(self.sides)))

    @property
    def rng(self) -> np.random.Generator:
        """A new random generator, seeded alike at every access."""
        return np.random.default_rng(self.seed)

    def check_sides(self, least: int) -> None:
        """Raise `ImageError` for images with a side below `least` pixels."""
        if min(self.sides) < least:
            size = f"{self.sides[1]}x{self.sides[0]}"
            hint = f"each side needs {least} pixels; -m ibp, -m tv and networks accept any size"
            raise ImageError(f"an image of {size} is too small to learn from", hint)


def make_fathers(small: Pixels, least: int) -> list[Pixels]:
    """Return the image (h, w, C) and smaller versions of it, no side below `least`, to learn from."""
    out = [small]
    for share in _SHARES[1:]:
        sides = [max(least, round(side * share)) for side in small.shape[:2]]
        out.append(np.clip(resize(small, *sides), 0, 1))
    return out


def make_son(father: Pixels, problem: Problem, least: int) -> tuple[Pixels, Reduction]:
    """Reduce a father (h, w, C) as the image of `problem` was, and return the reduction, too.

    The result is rounded to 8 bits if that image is. The scale is lower if a side would fall below `least`.
    """
    height, width = father.shape[:2]
    scale = max(1, min(problem.scale, min(height, width) / least))
    reduction = Reduction((height, width), (round(height / scale), round(width / scale)), problem.blur)
    small = np.clip(np.asarray(reduction(father), np.float32), 0, 1)
    return (from_uint8(to_uint8(small)) if is_8bit(problem.small) else small), reduction
