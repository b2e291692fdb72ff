"""Seams: how far tiles differ where they meet, measured while they are placed.

A tile is run with more pixels around it than are kept, so next to a cut both neighbours have computed the
same pixels. Their difference there is the step that one would see.
"""

from collections.abc import Callable
from dataclasses import field

import numpy as np

from srcli.dataclass import dataclass
from srcli.engine.tiles import Span
from srcli.imaging.pixels import Pixels

# The root mean square along one side of a tile, of a range of 1: one level of 8 bits.
VISIBLE = 1 / 255
_TRIES = 3


@dataclass(frozen=True)
class Seam:
    """The worst side of a tile: its `step` in [0, 1], with an `overlap` in input pixels.

    `again`: it was too large, so the rest of the image is computed with more overlap.
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
        """True if one might see it."""
        return self.step > VISIBLE


Report = Callable[[Seam], None]


class SeamMismatch(Exception):  # noqa: N818 (not an error: the upscaler handles it)
    """Tiles differ too much where they meet."""

    def __init__(self, step: float) -> None:
        super().__init__(step)
        self.step = step


@dataclass
class SeamMeter:
    """The worst seam of an image, given its tiles row by row. `limit`: the largest step allowed."""

    scale: int
    limit: float = float("inf")
    worst: float = 0.0
    sides: int = 0
    _right: Pixels | None = None
    _below: dict[int, Pixels] = field(default_factory=dict)

    def add(self, y: Span, x: Span, result: Pixels) -> None:
        """Compare a tile's output (H, W, C) with its left and upper neighbours'. Raises `SeamMismatch`."""
        rows, columns, wide = y.inner(self.scale), x.inner(self.scale), self.scale
        if x.keep_start > max(0, x.start) and self._right is not None:
            self._compare(self._right, result[rows, columns.start - wide : columns.start])
        if y.keep_start > y.start and x.keep_start in self._below:
            self._compare(self._below[x.keep_start], result[rows.start - wide : rows.start, columns])
        self._right = result[rows, columns.stop - wide : columns.stop].copy()
        self._below[x.keep_start] = result[rows.stop - wide : rows.stop, columns].copy()

    def _compare(self, one: Pixels, other: Pixels) -> None:
        self.sides += 1
        self.worst = max(self.worst, float(np.sqrt(np.mean((_to_float(one) - _to_float(other)) ** 2))))
        if self.worst > self.limit:
            raise SeamMismatch(self.worst)


def _to_float(strip: Pixels) -> Pixels:
    """Return samples in [0, 1], from bytes too."""
    return strip if strip.dtype == np.float32 else strip.astype(np.float32) / np.float32(255)


def plan_overlaps(halo: int, tile: int) -> list[tuple[int, float]]:
    """Return the overlaps to try, in input pixels, with the largest step each allows; the last allows any."""
    widths = list(dict.fromkeys(min(halo * 2**k, max(halo, tile)) for k in range(_TRIES)))
    limits = [VISIBLE] * (len(widths) - 1) + [float("inf")]
    return list(zip(widths, limits, strict=True))
