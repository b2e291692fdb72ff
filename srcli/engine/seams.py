"""Seams: how far tiles differ where they meet, measured while they are placed.

A tile is run with more around it than is kept. Beside the cut both neighbours have an opinion on the same
pixels; their difference there is the step that an eye would see.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from srcli.engine.tiles import Span
from srcli.imaging.pixels import Pixels

# Of the full range, as root mean square along one side of a tile: a level of 8 bits.
VISIBLE = 1 / 255
_TRIES = 3


@dataclass(frozen=True)
class Seam:
    """The worst side of a tile: `step` in [0, 1], with so many input pixels of overlap.

    `again`: it was too much, and the image is done again with more overlap.
    """

    step: float
    overlap: int
    again: bool = False

    @property
    def levels(self) -> float:
        """The step in levels of 8 bits."""
        return 255 * self.step

    @property
    def visible(self) -> bool:
        """Whether an eye might see it."""
        return self.step > VISIBLE


Report = Callable[[Seam], None]


class SeamMismatch(Exception):  # noqa: N818 (no error: it is handled where tiles are planned)
    """Tiles do not meet."""

    def __init__(self, step: float) -> None:
        super().__init__(step)
        self.step = step


@dataclass
class SeamMeter:
    """Shown every tile of an image, row by row; `limit` is the step that is too much."""

    scale: int
    limit: float = float("inf")
    worst: float = 0.0
    sides: int = 0
    _right: Pixels | None = None
    _below: dict[int, Pixels] = field(default_factory=dict)

    def add(self, y: Span, x: Span, result: Pixels) -> None:
        """Compare a tile's output (H, W, C) with its left and upper neighbours'. Raises `SeamMismatch`."""
        rows, columns, wide = y.inner(self.scale), x.inner(self.scale), self.scale
        if x.keep_start > x.start and self._right is not None:
            self._note(self._right, result[rows, columns.start - wide : columns.start])
        if y.keep_start > y.start and x.keep_start in self._below:
            self._note(self._below[x.keep_start], result[rows.start - wide : rows.start, columns])
        self._right = result[rows, columns.stop - wide : columns.stop].copy()
        self._below[x.keep_start] = result[rows.stop - wide : rows.stop, columns].copy()

    def _note(self, one: Pixels, other: Pixels) -> None:
        self.sides += 1
        self.worst = max(self.worst, float(np.sqrt(np.mean((_values(one) - _values(other)) ** 2))))
        if self.worst > self.limit:
            raise SeamMismatch(self.worst)


def _values(strip: Pixels) -> Pixels:
    """In [0, 1], of bytes too."""
    return strip if strip.dtype == np.float32 else strip.astype(np.float32) / np.float32(255)


def plan_overlaps(halo: int, tile: int) -> list[tuple[int, float]]:
    """The overlaps to try in input pixels, each with the step that is too much; the last takes any."""
    widths = list(dict.fromkeys(min(halo * 2**k, max(halo, tile)) for k in range(_TRIES)))
    limits = [VISIBLE] * (len(widths) - 1) + [float("inf")]
    return list(zip(widths, limits, strict=True))
