"""Look-up tables that replace a network: its outputs for a few 8-bit pixels, computed once.

SR-LUT samples coarsely and interpolates between samples.
https://openaccess.thecvf.com/content/CVPR2021/html/Jo_Practical_Single-Image_Super-Resolution_Using_Look-Up_Table_CVPR_2021_paper.html
SPLUT has integers up to 15 between tables, so that every value is a sample. https://arxiv.org/abs/2207.12987
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.pixels import Pixels, quantise

# int8 or floats; the axes are the inputs, in the order of their positions in the window, then the outputs.
Table = NDArray[Any]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
# Rows and columns from the pixel that is upscaled to those that its result depends on.
Offsets = list[tuple[int, int]]

# Height and width of SR-LUT's windows by their number of pixels: its kernels V, F and S.
WINDOWS = {2: (1, 2), 3: (1, 3), 4: (2, 2)}
# An int8 entry of SR-LUT is the value times this; the entries of four rotations add up to levels of 255.
SRLUT_ONE = 127
# Values of the halves of a pixel in SPLUT, and of the numbers between its tables, which go from -8 to 7.
LEVELS = 16
# The suffix of the factors, one for each output, by which the entries of an int8 table of SPLUT are
# multiplied.
UNIT = ".unit"
# Windows that are interpolated at once: enough to keep NumPy busy, few enough for the cache.
_BLOCK = 4096


class LutUpscaler(Protocol):
    """Tables that upscale pixels."""

    @property
    def scale(self) -> int:
        """The scale."""

    @property
    def halo(self) -> int:
        """The distance in pixels at which a pixel can still change a result."""

    @property
    def entries(self) -> int:
        """The number of values in the tables."""

    def __call__(self, pixels: Pixels) -> Pixels:
        """Upscale (H, W, C) in [0, 1] to (H*scale, W*scale, C), each channel by itself; not clipped."""


@dataclass(frozen=True)
class SrLut:
    """SR-LUT: a table (L, ..., L, scale, scale) of int8 or floats in [-1, 1], summed over four rotations."""

    table: Table

    @property
    def scale(self) -> int:
        """The scale, as the side of the block of an entry."""
        return int(self.table.shape[-1])

    @property
    def halo(self) -> int:
        """The reach of the window."""
        return max(WINDOWS[self.table.ndim - 2]) - 1

    @property
    def entries(self) -> int:
        """The number of values in the table."""
        return self.table.size

    def __call__(self, pixels: Pixels) -> Pixels:
        """Upscale all channels at once, in blocks of rows."""
        height, width, channels = pixels.shape
        cells = self._cells(pixels)
        turns = [_rotate(self.table, k) for k in range(4)]
        blocks = np.empty((height, width, channels, self.scale, self.scale), np.float32)
        rows = max(1, _BLOCK // (width * channels))
        for top in range(0, height, rows):
            band = cells[top : top + rows + 2 * self.halo]
            said = sum(_interpolate(table, _gather(band, self.halo, places)) for table, places in turns)
            blocks[top : top + rows] = np.reshape(said, blocks[top : top + rows].shape)
        blocks *= np.float32((1 if self.table.dtype == np.int8 else SRLUT_ONE) / 255)
        return _assemble(blocks)

    def _cells(self, pixels: Pixels) -> Floats:
        """Return pixels in units of the sampling step, with a mirrored border. The last sample is 256."""
        step = 256 // (len(self.table) - 1)
        cells = np.clip(pixels, 0, 1) * np.float32(255 / step)
        return _pad(_pad(cells, 0, self.halo, self.halo), 1, self.halo, self.halo)


@dataclass(frozen=True)
class Splut:
    """SPLUT: tables (16, 16, 16, 16, outputs) by the names of `archs/splut.py`, and their units."""

    tables: Mapping[str, Table]

    @property
    def scale(self) -> int:
        """The scale, as the side of the block of an entry."""
        return math.isqrt(self.tables["upper.lut221_c12"].shape[-1])

    @property
    def halo(self) -> int:
        """The reach of three tables, one pixel each."""
        return 1 + 1 + 1

    @property
    def entries(self) -> int:
        """The number of values in the tables, without their units."""
        return sum(table.size for name, table in self.tables.items() if not name.endswith(UNIT))

    def __call__(self, pixels: Pixels) -> Pixels:
        """Upscale the channels one after the other."""
        out = [self._plane(pixels[..., channel]) for channel in range(pixels.shape[2])]
        blocks = np.stack(out, axis=2)
        return _assemble(blocks.reshape(*blocks.shape[:3], self.scale, self.scale))

    def _plane(self, plane: NDArray[np.float32]) -> Floats:
        """Upscale (H, W) in [0, 1] to (H, W, scale**2)."""
        levels = quantise(plane).astype(np.int64)
        # The smallest SPLUT divides the upper half by 255/16 and the lower by 255, the others both by 16.
        small = self.tables["upper.lut122"].shape[-1] == 4
        upper = self._half("upper", levels // LEVELS, 255 / LEVELS if small else LEVELS)
        return upper + self._half("lower", levels % LEVELS, 255 if small else LEVELS)

    def _half(self, half: str, levels: Indices, divisor: float) -> Floats:
        """Convert (H, W) of integers up to 15 to (H, W, scale**2) in [-1, 1]."""
        base = (levels / divisor).astype(np.float32)[..., None]
        near = _pad(_pad(levels, 0, 0, 1), 1, 0, 1)
        window = [near[:-1, :-1], near[:-1, 1:], near[1:, :-1], near[1:, 1:]]
        features = base + self._look_up(f"{half}.lut122", window)
        features = features + self._stage(features, f"{half}.lut221", f"{half}.lut212")
        out = base + self._stage(features, f"{half}.lut221_c12", f"{half}.lut212_c34")
        return np.asarray(np.clip(out, -1, 1))

    def _stage(self, features: Floats, vertical: str, horizontal: str) -> Floats:
        """Average the entries of the tables of a stage, each for four features in turn."""
        named = (
            (name + number, axis) for axis, name in enumerate((vertical, horizontal)) for number in ("", "_2")
        )
        there = [(name, axis) for name, axis in named if name in self.tables]
        groups = np.split(features, features.shape[-1] // 4, axis=-1)
        results = [
            self._look_up(name, _quantise_between(groups[i % len(groups)], axis))
            for i, (name, axis) in enumerate(there)
        ]
        return np.asarray(sum(results) / np.float32(len(results)))

    def _look_up(self, name: str, inputs: list[Indices]) -> Floats:
        """Return the entries (H, W, outputs) of a table for its four inputs (H, W)."""
        table = self.tables[name]
        place = inputs[0]
        for more in inputs[1:]:
            place = place * LEVELS + more
        entries = np.take(table.reshape(-1, table.shape[-1]), place, 0, mode="clip")
        return entries * self.tables.get(name + UNIT, np.float32(1))


def _quantise_between(features: Floats, axis: int) -> list[Indices]:
    """Return the four inputs of a table that looks at two positions between pixels along an axis.

    At each position there are two integers up to 15: the sums of the first two of four features (H, W, 4) on
    one side of it and the last two on the other.
    """
    total = _pad(features[..., :2], axis, 0, 1) + _pad(features[..., 2:], axis, 1, 0)
    half = LEVELS // 2
    whole = np.clip(np.floor(total), -half, half - 1).astype(np.int64) + half
    near, far = (whole[:-1], whole[1:]) if axis == 0 else (whole[:, :-1], whole[:, 1:])
    return [near[..., 0], far[..., 0], near[..., 1], far[..., 1]]


def _rotate(table: Table, k: int) -> tuple[Table, Offsets]:
    """Return a table that does to an image what `table` does to the image rotated `k` times.

    It is (L, ..., L, outputs) and comes with the offsets of its window.
    """
    places: Offsets = [(int(y), int(x)) for y, x in np.ndindex(WINDOWS[table.ndim - 2])]
    for _ in range(k):
        places = [(x, -y) for y, x in places]
    blocks = np.ascontiguousarray(np.rot90(table, -k, axes=(-2, -1)))
    return blocks.reshape(*table.shape[:-2], -1), places


def _gather(band: Floats, frame: int, places: Offsets) -> Floats:
    """Return the values (offsets, H * W * C) at each offset of a window in a band (H, W, C) with a border."""
    height, width = (side - 2 * frame for side in band.shape[:2])
    at = ((frame + y, frame + x) for y, x in places)
    return np.stack([band[y : y + height, x : x + width].ravel() for y, x in at])


def _interpolate(table: Table, cells: Floats) -> Floats:
    """Interpolate a table (L, ..., L, outputs) at (inputs, N) in sampling steps: (N, outputs).

    The order of the fractions cuts each cube between samples into simplices, on which values are affine: the
    path goes from the lowest corner of a cube to its highest, along the axis of the largest fraction first.
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
    """Return the weight of each corner in the values within a cube, and the steps from corner to corner."""
    # Fraction and stride are packed into an integer, and a sorting network orders these: numpy.argsort of a
    # few values at each of many positions takes ten times as long.
    whole = (fractions * 2**24).astype(np.int64)
    keys = [part << 32 | stride for part, stride in zip(whole, strides, strict=True)]
    for i, j in itertools.combinations(range(len(keys)), 2):
        keys[i], keys[j] = np.maximum(keys[i], keys[j]), np.minimum(keys[i], keys[j])
    heights = [(key >> 32).astype(np.float32) / np.float32(2**24) for key in keys]
    ends = np.ones_like(heights[0]), np.zeros_like(heights[0])
    shares = [high - low for high, low in itertools.pairwise([ends[0], *heights, ends[1]])]
    return shares, [key & (2**32 - 1) for key in keys]


def _pad(values: NDArray[Any], axis: int, before: int, after: int) -> NDArray[Any]:
    """Pad an axis by reflection, or by repeating its ends if it is too short."""
    widths = [(0, 0)] * values.ndim
    widths[axis] = (before, after)
    return np.pad(values, widths, "reflect" if values.shape[axis] > max(before, after) else "edge")


def _assemble(blocks: Floats) -> Pixels:
    """Assemble the blocks of all pixels: (H, W, C, scale, scale) to (H*scale, W*scale, C)."""
    height, width, channels, scale, _ = blocks.shape
    return blocks.transpose(0, 3, 1, 4, 2).reshape(height * scale, width * scale, channels)
