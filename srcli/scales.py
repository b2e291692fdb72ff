"""Scale factors, and where the pixels of an output of any size lie on the input, in integers."""

import math

from srcli.dataclass import dataclass

# In place of a scale: the network takes the output size as an input, and so upscales by any factor.
ANY = 0


def format_scale(scale: float) -> str:
    """Return a scale as it appears in file names and messages.

    >>> format_scale(4), format_scale(2.7), format_scale(ANY)
    ('x4', 'x2.7', 'any')
    """
    return "any" if scale == ANY else f"x{scale:g}"


def simplify_scale(scale: float) -> float:
    """Return the scale as an int if it is a whole number, for tables and files.

    >>> simplify_scale(4.0), simplify_scale(2.7)
    (4, 2.7)
    """
    return int(scale) if float(scale).is_integer() else scale


def parse_scale(text: str) -> float:
    """Return the scale factor that a user gave, positive or not. Raises `ValueError` if it is not a number.

    >>> parse_scale("2"), parse_scale("x2.5")
    (2.0, 2.5)
    """
    scale = float(text.strip().lower().removeprefix("x"))
    if not math.isfinite(scale):
        raise ValueError(f"{text} is not finite")
    return scale


def parse_header_scale(text: str) -> int:
    """Return the scale that a file's header names. Raises `ValueError` if it names none.

    >>> parse_header_scale("4"), parse_header_scale("any") == ANY
    (4, True)
    """
    return ANY if text == "any" else int(text)


@dataclass(frozen=True)
class Axis:
    """Output pixels along one axis, and the tile of the input that they are made from.

    `inputs` pixels become `outputs`; the tile begins at input pixel `start` and yields the outputs from
    `first` up to, but not including, `last`.
    """

    inputs: int
    outputs: int
    start: int
    first: int
    last: int

    @property
    def target(self) -> slice:
        """Their position in the whole output."""
        return slice(self.first, self.last)

    def find_corner(self, output: int) -> int:
        """Return the pixel of the tile that contains an output pixel's left edge."""
        return output * self.inputs // self.outputs - self.start

    def find_centre(self, output: int) -> int:
        """Return the pixel of the tile that contains an output pixel's centre."""
        return (2 * output + 1) * self.inputs // (2 * self.outputs) - self.start

    @property
    def cell(self) -> float:
        """The side of an output pixel in input pixels."""
        return self.inputs / self.outputs


# Vertical and horizontal.
Window = tuple[Axis, Axis]


def make_full_window(height: int, width: int, size: tuple[int, int]) -> Window:
    """Return the window of a whole output of `size` (height, width), made from a whole input."""
    axes = [
        Axis(inputs, outputs, 0, 0, outputs) for inputs, outputs in zip((height, width), size, strict=True)
    ]
    return axes[0], axes[1]


def count_outputs_before(position: int, inputs: int, outputs: int) -> int:
    """Return how many output pixels have their centre before the left edge of input pixel `position`.

    >>> [count_outputs_before(position, 4, 11) for position in range(5)]
    [0, 3, 5, 8, 11]
    """
    return -((inputs - 2 * position * outputs) // (2 * inputs))
