"""Look-up tables in the place of a network: what it says of a few 8-bit pixels, sampled once and for all.

SR-LUT samples coarsely, and values between samples are interpolated.
https://openaccess.thecvf.com/content/CVPR2021/html/Jo_Practical_Single-Image_Super-Resolution_Using_Look-Up_Table_CVPR_2021_paper.html
SPLUT has whole numbers up to 15 between tables, so that nothing lies between samples. https://arxiv.org/abs/2207.12987
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import Pixels, quantise

# int8 or floats; the axes are the inputs, in the order of their places in the window, then the outputs.
Table = NDArray[Any]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
# Rows and columns from the pixel that is enlarged to those that have a say in it.
Places = list[tuple[int, int]]

# Height and width of SR-LUT's windows by their number of pixels: its kernels V, F and S.
WINDOWS = {2: (1, 2), 3: (1, 3), 4: (2, 2)}
# int8 entries of SR-LUT are so many times the value; those of four turns add up to levels of 255.
SRLUT_ONE = 127
# Values of SPLUT's pixels' halves, and of what goes from table to table: there from -8 to 7.
LEVELS = 16
# Beside a table of SPLUT in int8, what its entries are multiplied with, one number for each output.
UNIT = ".unit"
# Windows that are interpolated at a time: enough to keep NumPy busy, few enough for the cache.
_AT_A_TIME = 4096


class LutUpscaler(Protocol):
    """Tables that enlarge pixels."""

    @property
    def scale(self) -> int:
        """How many times larger they make them."""

    @property
    def halo(self) -> int:
        """How many pixels around a pixel can change what becomes of it."""

    @property
    def entries(self) -> int:
        """How many values the tables hold."""

    def __call__(self, pixels: Pixels) -> Pixels:
        """(H, W, C) in [0, 1] to (H*scale, W*scale, C), not clipped; every channel by itself."""


@dataclass(frozen=True)
class SrLut:
    """One table (L, ..., L, scale, scale) of int8, or of floats in [-1, 1], added up in four turns."""

    table: Table

    @property
    def scale(self) -> int:
        """See `LutUpscaler`."""
        return int(self.table.shape[-1])

    @property
    def halo(self) -> int:
        """See `LutUpscaler`."""
        return max(WINDOWS[self.table.ndim - 2]) - 1

    @property
    def entries(self) -> int:
        """See `LutUpscaler`."""
        return self.table.size

    def __call__(self, pixels: Pixels) -> Pixels:
        """See `LutUpscaler`."""
        height, width, channels = pixels.shape
        cells = self._cells(pixels)
        turns = [_turned(self.table, k) for k in range(4)]
        blocks = np.empty((height, width, channels, self.scale, self.scale), np.float32)
        rows = max(1, _AT_A_TIME // (width * channels))
        for top in range(0, height, rows):
            band = cells[top : top + rows + 2 * self.halo]
            said = sum(_interpolated(table, _windows(band, self.halo, places)) for table, places in turns)
            blocks[top : top + rows] = np.reshape(said, blocks[top : top + rows].shape)
        blocks *= np.float32((1 if self.table.dtype == np.int8 else SRLUT_ONE) / 255)
        return _placed(blocks)

    def _cells(self, pixels: Pixels) -> Floats:
        """Pixels in steps from sample to sample, with a mirrored frame. The last sample stands for 256."""
        step = 256 // (len(self.table) - 1)
        cells = np.clip(pixels, 0, 1) * np.float32(255 / step)
        return _mirrored(_mirrored(cells, 0, self.halo, self.halo), 1, self.halo, self.halo)


@dataclass(frozen=True)
class Splut:
    """Tables (16, 16, 16, 16, outputs) with the names that `archs/splut.py` gives them, and their units."""

    tables: Mapping[str, Table]

    @property
    def scale(self) -> int:
        """See `LutUpscaler`."""
        return math.isqrt(self.tables["upper.lut221_c12"].shape[-1])

    @property
    def halo(self) -> int:
        """See `LutUpscaler`."""
        return 1 + 1 + 1

    @property
    def entries(self) -> int:
        """See `LutUpscaler`."""
        return sum(table.size for name, table in self.tables.items() if not name.endswith(UNIT))

    def __call__(self, pixels: Pixels) -> Pixels:
        """See `LutUpscaler`."""
        out = [self._plane(pixels[..., channel]) for channel in range(pixels.shape[2])]
        blocks = np.stack(out, axis=2)
        return _placed(blocks.reshape(*blocks.shape[:3], self.scale, self.scale))

    def _plane(self, plane: NDArray[np.float32]) -> Floats:
        """(H, W) in [0, 1] to (H, W, scale**2)."""
        levels = quantise(plane).astype(np.int64)
        # The smallest SPLUT takes the halves as parts of 255, the others both as parts of 16.
        small = self.tables["upper.lut122"].shape[-1] == 4
        upper = self._half("upper", levels // LEVELS, 255 / LEVELS if small else LEVELS)
        return upper + self._half("lower", levels % LEVELS, 255 if small else LEVELS)

    def _half(self, half: str, levels: Indices, divisor: float) -> Floats:
        """(H, W) of whole numbers up to 15 to (H, W, scale**2) in [-1, 1]."""
        base = (levels / divisor).astype(np.float32)[..., None]
        near = _mirrored(_mirrored(levels, 0, 0, 1), 1, 0, 1)
        window = [near[:-1, :-1], near[:-1, 1:], near[1:, :-1], near[1:, 1:]]
        features = base + self._looked_up(f"{half}.lut122", window)
        features = features + self._stage(features, f"{half}.lut221", f"{half}.lut212")
        out = base + self._stage(features, f"{half}.lut221_c12", f"{half}.lut212_c34")
        return np.asarray(np.clip(out, -1, 1))

    def _stage(self, features: Floats, vertical: str, horizontal: str) -> Floats:
        """The mean of what a stage's tables have for four features each, in turn."""
        named = (
            (name + number, axis) for axis, name in enumerate((vertical, horizontal)) for number in ("", "_2")
        )
        there = [(name, axis) for name, axis in named if name in self.tables]
        groups = np.split(features, features.shape[-1] // 4, axis=-1)
        results = [
            self._looked_up(name, _between(groups[i % len(groups)], axis))
            for i, (name, axis) in enumerate(there)
        ]
        return np.asarray(sum(results) / np.float32(len(results)))

    def _looked_up(self, name: str, inputs: list[Indices]) -> Floats:
        """(H, W, outputs): the entries of the table for its four inputs (H, W)."""
        table = self.tables[name]
        place = inputs[0]
        for more in inputs[1:]:
            place = place * LEVELS + more
        entries = np.take(table.reshape(-1, table.shape[-1]), place, 0, mode="clip")
        return entries * self.tables.get(name + UNIT, np.float32(1))


def _between(features: Floats, axis: int) -> list[Indices]:
    """Inputs of a table that sees two places between pixels along an axis, of four features (H, W, 4).

    Each place has whole numbers up to 15, two: the first two features on its one side and the others on its
    other side, added up.
    """
    total = _mirrored(features[..., :2], axis, 0, 1) + _mirrored(features[..., 2:], axis, 1, 0)
    half = LEVELS // 2
    whole = np.clip(np.floor(total), -half, half - 1).astype(np.int64) + half
    near, far = (whole[:-1], whole[1:]) if axis == 0 else (whole[:, :-1], whole[:, 1:])
    return [near[..., 0], far[..., 0], near[..., 1], far[..., 1]]


def _turned(table: Table, k: int) -> tuple[Table, Places]:
    """What does the work of `table` on an image turned `k` times without turning it.

    A table (L, ..., L, outputs), and the places of its window.
    """
    places: Places = [(int(y), int(x)) for y, x in np.ndindex(WINDOWS[table.ndim - 2])]
    for _ in range(k):
        places = [(x, -y) for y, x in places]
    blocks = np.ascontiguousarray(np.rot90(table, -k, axes=(-2, -1)))
    return blocks.reshape(*table.shape[:-2], -1), places


def _windows(band: Floats, frame: int, places: Places) -> Floats:
    """(places, H * W * C): the values at every place of a window, of a band (H, W, C) within a frame."""
    height, width = (side - 2 * frame for side in band.shape[:2])
    at = ((frame + y, frame + x) for y, x in places)
    return np.stack([band[y : y + height, x : x + width].ravel() for y, x in at])


def _interpolated(table: Table, cells: Floats) -> Floats:
    """Values (N, outputs) of a table (L, ..., L, outputs) between its samples, at (inputs, N) in steps.

    The cubes between samples are cut into simplices by the order of the fractions, and values are affine on
    each: one walks from a cube's lowest corner to its highest, along the axis of the largest fraction first.
    """
    samples, inputs = len(table), len(cells)
    corner = np.minimum(cells.astype(np.int64), samples - 2)
    strides = samples ** np.arange(inputs - 1, -1, -1)
    shares, steps = _walk(cells - corner, strides)
    entries = table.reshape(-1, table.shape[-1])
    places = itertools.accumulate(steps, initial=strides @ corner)
    total = np.zeros((cells.shape[1], entries.shape[1]), np.float32)
    for place, share in zip(places, shares, strict=True):
        total += np.take(entries, place, 0, mode="clip") * share[:, None]
    return total


def _walk(fractions: NDArray[np.floating], strides: Indices) -> tuple[list[Floats], list[Indices]]:
    """The share of each corner in the values within a cube, and the steps from corner to corner."""
    # Fraction and stride make one integer, and a network of exchanges sorts these: numpy.argsort of a few
    # values in each of many places takes ten times as long.
    whole = (fractions * 2**24).astype(np.int64)
    keys = [part << 32 | stride for part, stride in zip(whole, strides, strict=True)]
    for i, j in itertools.combinations(range(len(keys)), 2):
        keys[i], keys[j] = np.maximum(keys[i], keys[j]), np.minimum(keys[i], keys[j])
    heights = [(key >> 32).astype(np.float32) / np.float32(2**24) for key in keys]
    ends = np.ones_like(heights[0]), np.zeros_like(heights[0])
    shares = [high - low for high, low in itertools.pairwise([ends[0], *heights, ends[1]])]
    return shares, [key & (2**32 - 1) for key in keys]


def _mirrored(values: NDArray[Any], axis: int, before: int, after: int) -> NDArray[Any]:
    """More values at the ends of an axis, as in a mirror there; repeated ends where it is too short."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (before, after)
    return np.pad(values, widths, "reflect" if values.shape[axis] > max(before, after) else "edge")


def _placed(blocks: Floats) -> Pixels:
    """(H, W, C, scale, scale) to (H*scale, W*scale, C): the block of every pixel in its place."""
    height, width, channels, scale, _ = blocks.shape
    return blocks.transpose(0, 3, 1, 4, 2).reshape(height * scale, width * scale, channels)
