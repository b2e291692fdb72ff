"""Target sizes: by a factor, a side, a box or an area."""

import math
from dataclasses import fields

from srcli.dataclass import dataclass
from srcli.errors import UsageError

Size = tuple[int, int]
LARGEST_SIDE = 2**20
_MOST_DIGITS = 9


@dataclass(frozen=True)
class TargetSize:
    """The size an image is to get, by one of these fields, in pixels, or in millions for `megapixels`.

    The image has to fit into `box` (width, height); with `exact` it gets that size, whatever its proportions.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    long_edge: int | None = None
    megapixels: float | None = None
    box: Size | None = None
    exact: bool = False

    @property
    def label(self) -> str:
        """The size as part of a file name, such as `x2` or `w640`."""
        if self.box:
            return "x".join(map(str, self.box))
        signs = {
            "scale": "x{:g}",
            "width": "w{}",
            "height": "h{}",
            "long_edge": "l{}",
            "megapixels": "{:g}mp",
        }
        return "".join(
            sign.format(getattr(self, name)) for name, sign in signs.items() if getattr(self, name)
        )

    def resolve(self, size: Size) -> Size:
        """Return the target (width, height) of an image of `size`; at least one pixel each."""
        if self.exact and self.box:
            return self.box
        factor = self._factor(size)
        width, height = (max(1, math.floor(side * factor + 0.5)) for side in size)
        return width, height

    def _factor(self, size: Size) -> float:
        """Return by how much the sides grow, the larger of two factors."""
        width, height = size
        if self.box:
            return self._box_factor(size)
        if self.megapixels:
            return math.sqrt(self.megapixels * 1e6 / (width * height))
        sides = ((self.scale, 1), (self.width, width), (self.height, height), (self.long_edge, max(size)))
        return next(wanted / side for wanted, side in sides if wanted)

    def _box_factor(self, size: Size) -> float:
        factors = [new / old for new, old in zip(self.box or size, size, strict=True)]
        return max(factors) if self.exact else min(factors)


def parse_target_size(
    scale: float | None,
    width: int | None,
    height: int | None,
    size: str | None,
    long_edge: int | None,
    megapixels: float | None,
    default: float = 4,
) -> TargetSize:
    """Return the size that options ask for, or a scale of `default` if none does.

    Raises `UsageError` for more than one of them.
    """
    box, exact = _parse_box(size) if size else (None, False)
    target = TargetSize(scale, width, height, long_edge, megapixels, box, exact)
    given = [f.name for f in fields(target) if f.name != "exact" and getattr(target, f.name) is not None]
    if len(given) > 1:
        names = " and ".join(f"--{_OPTIONS.get(name, name)}" for name in given)
        raise UsageError(f"{names} cannot be combined", "--size WIDTHxHEIGHT fits the image into a box")
    for name in given:
        value = getattr(target, name)
        sides = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(side) and 0 < side <= LARGEST_SIDE for side in sides) and name != "scale":
            text = "x".join(map(str, sides))
            raise UsageError(
                f"--{_OPTIONS.get(name, name)} {text} is not a valid size", "use a number above 0"
            )
    return target if given else TargetSize(scale=default)


_OPTIONS = {"long_edge": "long-edge", "box": "size"}


def _parse_box(text: str) -> tuple[Size, bool]:
    """Parse `1920x1080`, or `1920x1080!` for exactly that size."""
    numbers = text.removesuffix("!").lower().split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and len(number) <= _MOST_DIGITS for number in numbers):
        raise UsageError(
            f"--size {text[:40]} is not WIDTHxHEIGHT", "as in --size 1920x1080, or 1920x1080! exactly"
        )
    return (int(numbers[0]), int(numbers[1])), text.endswith("!")
