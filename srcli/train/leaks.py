"""The leak guard: finds training images that show a benchmark image, whole or as a part of them.

The benchmarks are known by difference hashes: grey means of 16 rows of 17 cells, a bit for each cell that is
brighter than the one to its left. Windows of the training image are hashed in the same way; the closest ones
are moved and stretched to fit better. Area means take the place of Pillow's BOX filter.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from srcli.train.planes import Samples

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
# After the first moves, copies were at 1.45 or less, and 95 % of the others at 1.77 or more.
_HOPELESS = 1.6
# Images are downscaled until the shorter side has this many pixels, or up to twice as many.
_SIDE = 96
# Each end of a range is moved either way or not at all.
_MOVES = 9
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
    proportions: NDArray[np.float32]
    signs: Tensor
    limits: Tensor


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
        torch.from_numpy(np.concatenate(turned).reshape(-1, _BITS)),
        torch.from_numpy(np.minimum(_LIMIT, _LIMIT_PER_EDGE * _count_edges(bits))).float().repeat(4),
    )


def _count_edges(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the neighbouring bits that differ."""
    return np.asarray(sum((np.diff(bits, axis=axis) != 0).sum((1, 2)) for axis in (1, 2)))


def find_benchmark(samples: Samples) -> str | None:
    """Find the benchmark image, as `SET/NAME`, that an image (H, W, 3) shows; None for most."""
    grey, known = _to_grey(samples), benchmarks()
    near = sorted(
        [*_compare_whole(grey, known), *_compare_parts(grey, known)], key=lambda window: window.misfit
    )[:_CANDIDATES]
    misfits = _refine(grey, near, known) if near else []
    for window, misfit in zip(near, misfits, strict=True):
        if misfit <= 1:
            return known.names[window.reference % len(known.names)]
    return None


def _to_grey(samples: Samples) -> Tensor:
    image = Image.fromarray(np.ascontiguousarray(samples)).convert("L")
    return torch.from_numpy(np.asarray(image.reduce(max(1, min(image.size) // _SIDE)), np.float32))


def _compare_whole(grey: Tensor, known: Benchmarks) -> list[Window]:
    """Compare the whole image, of any proportions, with all hashes in all orientations."""
    height, width = grey.shape
    signs = _compute_signs(grey, _kept_cells(height, _FRAMES, _ROWS), _kept_cells(width, _FRAMES, _COLUMNS))
    agreement, best = (signs @ known.signs.T).max(0)
    return _find_nearest(agreement, best, list(product(_FRAMES, _FRAMES)), known)


def _compare_parts(grey: Tensor, known: Benchmarks) -> list[Window]:
    """Compare parts of the image with hashes of similar proportions, upright or mirrored."""
    height, width = grey.shape
    groups = _match_proportions(width / height)
    if not groups:
        return []
    signs = _compute_signs(grey, _kept_cells(height, _PARTS, _ROWS), _kept_cells(width, _PARTS, _COLUMNS))
    agreement = torch.full((2 * len(known.names),), -torch.inf)
    best = torch.zeros(len(agreement), dtype=torch.int64)
    for group in groups:
        highest, window = (signs[group.windows] @ group.signs).max(0)
        better = highest > agreement[group.references]
        references = group.references[better]
        agreement[references] = highest[better]
        best[references] = group.windows[window[better]]
    return _find_nearest(agreement, best, list(product(_PARTS, _PARTS)), known)


@dataclass(frozen=True)
class _Group:
    """Windows that have the proportions of the same hashes, both by number; `signs` (256, n): the hashes."""

    windows: Tensor
    references: Tensor
    signs: Tensor


@lru_cache(maxsize=64)
def _match_proportions(proportion: float) -> tuple[_Group, ...]:
    """Return which parts of an image of this proportion match the proportions of which hashes."""
    known = benchmarks()
    lengths = np.array([high - low for low, high in _PARTS])
    parts = (proportion * lengths / lengths[:, None]).reshape(-1, 1)
    alike = np.abs(np.log(parts / known.proportions)) < np.log(_STRETCH)
    patterns, numbers = np.unique(alike, axis=0, return_inverse=True)
    return tuple(
        _Group(
            torch.from_numpy(np.flatnonzero(numbers.ravel() == number)),
            both,
            known.signs[both].T.contiguous(),
        )
        for number, pattern in enumerate(patterns)
        if pattern.any()
        for both in [torch.from_numpy(np.flatnonzero(np.tile(pattern, 2)))]
    )


def _find_nearest(
    agreement: Tensor, best: Tensor, windows: Sequence[tuple[Range, Range]], known: Benchmarks
) -> list[Window]:
    """Return the best window for each of the references that fit best; undecided bits count half."""
    misfits = (_BITS - agreement) / (2 * known.limits[: len(agreement)])
    lowest, references = (
        misfits.topk(_CANDIDATES, largest=False) if len(misfits) > _CANDIDATES else misfits.sort()
    )
    return [
        Window(windows[int(best[n])], n, misfit)
        for misfit, n in zip(lowest.tolist(), references.tolist(), strict=True)
        if misfit < _NEAR
    ]


def _refine(grey: Tensor, windows: Sequence[Window], known: Benchmarks) -> list[float]:
    """Move the borders of all windows to where the fewest bits differ, and return the misfits left.

    It ends early if no window comes near.
    """
    (height, width), count = grey.shape, len(windows)
    references = torch.tensor([window.reference for window in windows])
    signs, limits = known.signs[references], known.limits[references]
    rows, columns = torch.tensor([window.place for window in windows], dtype=torch.float64).unbind(1)
    misfits = torch.full((count,), torch.inf)
    for step in (0.05, 0.025, 0.012):
        rows, columns = _move(rows, step), _move(columns, step)
        cells = (
            _cells(size, ranges.view(-1, 2), cells).view(count, -1, size)
            for size, ranges, cells in ((height, rows, _ROWS), (width, columns, _COLUMNS))
        )
        bits = _compute_signs(grey, *cells).view(count, -1, _BITS)
        agreement, best = (bits @ signs[:, :, None])[..., 0].max(1)
        misfits = (_BITS - agreement) / (2 * limits)
        if misfits.min() > _HOPELESS:
            break
        each = torch.arange(count)
        rows, columns = rows[each, best // _MOVES], columns[each, best % _MOVES]
    return misfits.tolist()


def _move(ranges: Tensor, step: float) -> Tensor:
    """Move each end of ranges (n, 2) by `step` lengths either way or not at all: (n, 9, 2)."""
    moves = torch.tensor(list(product((0.0, -step, step), repeat=2)), dtype=torch.float64)
    return ranges[:, None] + moves * (ranges[:, 1] - ranges[:, 0])[:, None, None]


def _compute_signs(grey: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute, for each pair of ranges (..., R * C, 256), the sign of each cell minus its left neighbour."""
    sums = rows @ grey @ columns.mT
    *outer, height, width = sums.shape
    grid = (*outer, height // _ROWS, _ROWS, width // _COLUMNS, _COLUMNS)
    cells = sums.view(grid).transpose(-3, -2)
    signs = torch.empty((*cells.shape[:-1], _COLUMNS - 1))
    # Written in its final order at once: one pass over the memory instead of two.
    torch.sub(cells[..., 1:], cells[..., :-1], out=signs)
    return signs.sign_().view(*outer, -1, _BITS)


def _cells(size: int, ranges: Tensor, count: int) -> Tensor:
    """Return the matrix (n * count, size) that sums an axis over equal cells of n ranges; its ends extend."""
    low, high = ranges[:, :1], ranges[:, 1:]
    ends = ((low + (high - low) * torch.linspace(0, 1, count + 1, dtype=torch.float64)) * size).float()
    covered = (ends[..., None] - torch.arange(size)).clamp_(0, 1)
    covered[..., 0] += ends.clamp(max=0)
    covered[..., -1] += (ends - size).clamp(min=0)
    return covered.diff(dim=1).flatten(0, 1)


@lru_cache(maxsize=64)
def _kept_cells(size: int, ranges: tuple[Range, ...], count: int) -> Tensor:
    """Return `_cells` of ranges that are the same for every image."""
    return _cells(size, torch.tensor(ranges, dtype=torch.float64), count)
