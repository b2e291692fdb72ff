"""Scales: whole ones, and any; which pixels of an output of any size lie where on the input, in integers."""

from dataclasses import dataclass

# In the place of a scale: the network takes the size of its output as an input, and so enlarges by any.
ANY = 0


def format_scale(scale: float) -> str:
    """How a scale is called in names of files and in messages.

    >>> label(4), label(2.7), label(ANY)
    ('x4', 'x2.7', 'any')
    """
    return "any" if scale == ANY else f"x{scale:g}"


def simplify_scale(scale: float) -> float:
    """A whole number where it is one, for tables and files.

    >>> plain(4.0), plain(2.7)
    (4, 2.7)
    """
    return int(scale) if float(scale).is_integer() else scale


def parse_header_scale(text: str) -> int:
    """The scale that a file's header names. Raises `ValueError` for what is none.

    >>> number("4"), number("any") == ANY
    (4, True)
    """
    return ANY if text == "any" else int(text)


@dataclass(frozen=True)
class Axis:
    """Pixels of an output along one axis, and the tile of the input that they are made of.

    `inputs` pixels become `outputs`; the tile begins at input `start`; made are the outputs `first` up to,
    and without, `last`.
    """

    inputs: int
    outputs: int
    start: int
    first: int
    last: int

    @property
    def target(self) -> slice:
        """Where they go in the whole output."""
        return slice(self.first, self.last)

    def find_corner(self, place: int) -> int:
        """The pixel of the tile in which an output pixel's left corner lies."""
        return place * self.inputs // self.outputs - self.start

    def find_centre(self, place: int) -> int:
        """The pixel of the tile in which an output pixel's centre lies."""
        return (2 * place + 1) * self.inputs // (2 * self.outputs) - self.start

    @property
    def cell(self) -> float:
        """An output pixel's side in input pixels."""
        return self.inputs / self.outputs


# Vertical and horizontal.
Window = tuple[Axis, Axis]


def make_full_window(height: int, width: int, size: tuple[int, int]) -> Window:
    """All of an output of `size` (height, width), made of all of an input."""
    axes = [
        Axis(inputs, outputs, 0, 0, outputs) for inputs, outputs in zip((height, width), size, strict=True)
    ]
    return axes[0], axes[1]


def count_outputs_before(place: int, inputs: int, outputs: int) -> int:
    """How many output pixels have their centre before the left edge of the input pixel at `place`.

    >>> [outputs_before(place, 4, 11) for place in range(5)]
    [0, 3, 5, 8, 11]
    """
    return -((inputs - 2 * place * outputs) // (2 * inputs))
