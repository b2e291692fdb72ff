"""The leak guard: finds training images that show a benchmark image, whole or as a part of them.

The benchmarks are known by difference hashes: grey means of 16 rows of 17 cells, a bit for each cell that is
brighter than the one to its left. Windows of the training image are hashed in the same way; the closest ones
are moved and stretched to fit better. Area means take the place of Pillow's BOX filter.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress, product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from srcli.train.planes import Samples

Floats = NDArray[np.float32]
# Start and end of a window along an axis, relative to the length of the image.
Range = tuple[float, float]

_FILE = Path(__file__).with_name("benchmark_hashes.csv")
# Increase it when the same file would be judged differently.
_VERSION = 1
_ROWS, _COLUMNS = 16, 17
_BITS = _ROWS * (_COLUMNS - 1)

# Measured on 737 images without a leak and altered copies of 119 benchmark images: tests/test_leaks.py.
_LIMIT = 44.0
# A hash with few edges says little: large dark and bright areas look alike everywhere.
_LIMIT_PER_EDGE = 0.22
# Windows with a misfit below this are looked at closely, the best few of them.
_NEAR = 2.2
_CANDIDATES = 4
# Images are downscaled until the shorter side has this many pixels, or up to twice as many.
_SIDE = 96
# Benchmark images keep their proportions to this factor where they are a part of another image.
_STRETCH = 1.13

# Frames that reach beyond the image find the original of a copy that was trimmed.
_FRAMES: tuple[Range, ...] = tuple((-a, 1 + b) for a, b in product((0.0, 0.03, 0.06), repeat=2))


def _parts() -> tuple[Range, ...]:
    """List parts of an axis of half its length or more, each moved by a ninth of its own length."""
    found: list[Range] = [(0.0, 1.0)]
    for length in (0.88, 0.77, 0.67, 0.58, 0.5):
        count = int(np.ceil((1 - length) / (0.11 * length))) + 1
        found += [(float(start), float(start) + length) for start in np.linspace(0, 1 - length, count)]
    return tuple(found)


_PARTS = _parts()


@dataclass(frozen=True)
class Benchmarks:
    """Hashes as signs (4 n, 256), each way up; `limits` (4 n): how many bits of a copy may differ."""

    names: tuple[str, ...]
    proportions: Floats
    signs: Floats
    limits: Floats


@dataclass(frozen=True)
class Window:
    """A part of the image compared with row `reference` of `signs`; `misfit`: differing bits / its limit."""

    place: tuple[Range, Range]
    reference: int
    misfit: float


def version() -> str:
    """Return a version that changes if an image might be judged differently."""
    return f"{_VERSION}-{hashlib.sha256(_FILE.read_bytes()).hexdigest()[:12]}"


@lru_cache(maxsize=1)
def benchmarks() -> Benchmarks:
    """Read the hashes that ship with the tool."""
    with _FILE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    hashes = np.array([list(bytes.fromhex(row["dhash_16x16_hex"])) for row in rows], np.uint8)
    bits = np.unpackbits(hashes, axis=1).reshape(-1, _ROWS, _COLUMNS - 1)
    signs = bits.astype(np.float32) * 2 - 1
    turned = (signs, -signs[:, :, ::-1], signs[:, ::-1], -signs[:, ::-1, ::-1])
    return Benchmarks(
        tuple(f"{row['set']}/{row['image']}" for row in rows),
        np.array([int(row["width"]) / int(row["height"]) for row in rows], np.float32),
        np.concatenate(turned).reshape(-1, _BITS),
        np.tile(np.minimum(_LIMIT, _LIMIT_PER_EDGE * _count_edges(bits)), 4).astype(np.float32),
    )


def _count_edges(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the neighbouring bits that differ."""
    return np.asarray(sum((np.diff(bits, axis=axis) != 0).sum((1, 2)) for axis in (1, 2)))


def find_benchmark(samples: Samples) -> str | None:
    """Find the benchmark image, as `SET/NAME`, that an image (H, W, 3) shows; None for most."""
    grey, known = _to_grey(samples), benchmarks()
    near = sorted(
        [*_compare_whole(grey, known), *_compare_parts(grey, known)], key=lambda window: window.misfit
    )
    for window in near[:_CANDIDATES]:
        if _refine(grey, window, known).misfit <= 1:
            return known.names[window.reference % len(known.names)]
    return None


def _to_grey(samples: Samples) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(samples)).convert("L")
    return np.asarray(image.reduce(max(1, min(image.size) // _SIDE)), np.float32)


def _compare_whole(grey: Floats, known: Benchmarks) -> list[Window]:
    """Compare the whole image, of any proportions, with all hashes in all orientations."""
    height, width = grey.shape
    signs = _compute_signs(grey, _kept_cells(height, _FRAMES, _ROWS), _kept_cells(width, _FRAMES, _COLUMNS))
    return _find_nearest(_measure_misfits(signs, known, 4), list(product(_FRAMES, _FRAMES)))


def _compare_parts(grey: Floats, known: Benchmarks) -> list[Window]:
    """Compare parts of the image with hashes of similar proportions, upright or mirrored."""
    height, width = grey.shape
    alike = _match_proportions(width / height)
    chosen = np.asarray(alike.any(1))
    if not chosen.any():
        return []
    signs = _compute_signs(grey, _kept_cells(height, _PARTS, _ROWS), _kept_cells(width, _PARTS, _COLUMNS))[
        chosen
    ]
    misfits = _measure_misfits(signs, known, 2)
    misfits[~np.tile(alike[chosen], 2)] = np.inf
    return _find_nearest(misfits, list(compress(product(_PARTS, _PARTS), chosen.tolist())))


@lru_cache(maxsize=64)
def _match_proportions(proportion: float) -> NDArray[np.bool_]:
    """Return which pairs of parts of an image of this proportion match the proportions of which hash."""
    lengths = np.array([high - low for low, high in _PARTS])
    parts = (proportion * lengths / lengths[:, None]).reshape(-1, 1)
    return np.asarray(np.abs(np.log(parts / benchmarks().proportions)) < np.log(_STRETCH))


def _measure_misfits(signs: Floats, known: Benchmarks, ways: int) -> Floats:
    """Measure misfits (windows, references) in `ways` orientations; undecided bits count half."""
    count = ways * len(known.names)
    return np.asarray((_BITS - _multiply(signs, known.signs[:count].T)) / (2 * known.limits[:count]))


def _find_nearest(misfits: Floats, windows: Sequence[tuple[Range, Range]]) -> list[Window]:
    """Return the best window for each of the references that fit best."""
    best = misfits.argmin(0)
    lowest = misfits[best, np.arange(len(best))]
    few = [int(n) for n in np.argsort(lowest)[:_CANDIDATES] if lowest[n] < _NEAR]
    return [Window(windows[best[n]], n, float(lowest[n])) for n in few]


def _refine(grey: Floats, window: Window, known: Benchmarks) -> Window:
    """Move the borders of a window to where the fewest bits differ."""
    (height, width), sign, limit = grey.shape, known.signs[window.reference], known.limits[window.reference]
    for step in (0.05, 0.025, 0.012):
        rows, columns = (_move(axis, step) for axis in window.place)
        signs = _compute_signs(grey, _cells(height, rows, _ROWS), _cells(width, columns, _COLUMNS))
        agreement = _multiply(signs, sign[:, None])[:, 0]
        row, column = divmod(int(agreement.argmax()), len(columns))
        misfit = float(_BITS - agreement.max()) / (2 * float(limit))
        window = replace(window, place=(rows[row], columns[column]), misfit=misfit)
    return window


def _move(axis: Range, step: float) -> tuple[Range, ...]:
    """List the ranges with each end unchanged or moved either way by `step` lengths of the window."""
    low, high = axis
    moves = [step * (high - low) * move for move in (0, -1, 1)]
    return tuple((low + a, high + b) for a, b in product(moves, repeat=2))


def _compute_signs(grey: Floats, rows: Floats, columns: Floats) -> Floats:
    """Compute, for each pair of ranges (R * C, 256), the sign of each cell minus its left neighbour."""
    cells = (
        _multiply(_multiply(rows, grey), columns.T)
        .reshape(-1, _ROWS, len(columns) // _COLUMNS, _COLUMNS)
        .swapaxes(1, 2)
    )
    return np.sign(np.diff(cells, axis=-1)).reshape(-1, _BITS)


def _multiply(left: Floats, right: Floats) -> Floats:
    """Multiply matrices by torch, which keeps to the threads that this thread may use.

    NumPy's BLAS starts all its threads for every small product, which takes 30 times as long beside other
    work.
    """
    return np.asarray((torch.from_numpy(left) @ torch.from_numpy(np.ascontiguousarray(right))).numpy())


def _cells(size: int, ranges: tuple[Range, ...], count: int) -> Floats:
    """Return the matrix (ranges * count, size) that averages an axis over equal cells; its ends extend."""
    lows, highs = np.array(ranges).T
    ends = np.linspace(lows, highs, count + 1, axis=1) * size
    low, high = ends[:, :-1].reshape(-1, 1), ends[:, 1:].reshape(-1, 1)
    start, stop = np.arange(size, dtype=np.float64), np.arange(1, size + 1, dtype=np.float64)
    start[0], stop[-1] = -np.inf, np.inf
    shares = np.clip(np.minimum(high, stop) - np.maximum(low, start), 0, None)
    return np.asarray(shares / (high - low), np.float32)


# Cached, for the ranges that are the same for every image.
_kept_cells = lru_cache(maxsize=64)(_cells)
