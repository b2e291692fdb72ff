"""Self-examples: small patches look alike at every size, so an image contains its own missing details.

The image grows in small steps. At each, with I the image so far, U its bicubic enlargement by the
step, L the image I reduced by the step and enlarged again, and q the pixels of I near the place of p:

    U(p) <- U(p) + sum over q of  w(p, q) (I - L)(q)
    w(p, q) ~ exp(-|patch of U at p - patch of L at q|^2 / 2 h^2)

The weights of a patch sum to one, patches overlap, and what they propose is averaged; then errors against
the given image are projected back (see `ibp`). Glasner, Bagon and Irani, ICCV 2009, have the idea; the search
near the same place, and the small steps that make it enough: Freedman and Fattal, ACM TOG 30 (2011),
https://doi.org/10.1145/1944846.1944852; the mean over patches: Buades, Coll and Morel, CVPR 2005.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.pixels import Plane
from srcli.imaging.resize import resize
from srcli.methods.classical.ibp import back_project
from srcli.methods.classical.operators import Reduction, Side, Values
from srcli.methods.classical.planes import solve_luma
from srcli.methods.classical.problem import Problem

# Chosen, as the next ones, on the photographs that ship with sr: two steps to twice the size.
STEP = 1.42
PATCH = 5
# How far around its own place a patch is looked for, in pixels.
REACH = 3
# h for each pixel of a patch.
LIKENESS = 6.0 / 255
# Rows that are done at a time, so that their patches stay in memory.
_BAND = 32

Patches = NDArray[np.float32]


def solve(problem: Problem) -> Values:
    """Return the image (H, W, C), luma by self-examples and colours by bicubic."""
    problem.check_sides(PATCH)
    return solve_luma(problem, grow)


def grow(problem: Problem) -> Values:
    """Enlarge (h, w, 1) to (H, W, 1) in steps."""
    image: Values = problem.small
    sizes = plan_steps(problem.sides, problem.size)
    turns = problem.clock.rounds(sum(math.ceil(height / _BAND) for height, _ in sizes))
    for size in sizes:
        large = fill_details(image[..., 0], size, turns)[..., None]
        blur = problem.blur if size == problem.size else None
        image = back_project(large, problem.small, Reduction(size, problem.sides, blur))
    return image


def plan_steps(small: Side, large: Side) -> list[Side]:
    """Return the sizes on the way, the last of them `large`, each at most `STEP` times the one before."""
    ratio = max(large[0] / small[0], large[1] / small[1])
    count = max(1, math.ceil(math.log(ratio) / math.log(STEP) - 1e-9))
    shares = [number / count for number in range(1, count + 1)]
    return [
        (round(small[0] * (large[0] / small[0]) ** t), round(small[1] * (large[1] / small[1]) ** t))
        for t in shares
    ]


def fill_details(image: Values, size: Side, turns: Iterator[float]) -> Plane:
    """Enlarge a plane (h, w) to `size` and add details; rows after `turns` ends stay without."""
    image = np.asarray(image, np.float32)
    height, width = image.shape
    large = resize(image, *size)
    coarse = resize(resize(image, *_shrink_size((height, width), size)), height, width)
    total, count = _pad_border(np.zeros_like(large)), _pad_border(np.zeros_like(large))
    for first, _ in zip(range(0, size[0], _BAND), turns, strict=False):
        rows = slice(first, min(first + _BAND, size[0]))
        patches = _propose_details(large, coarse, image - coarse, rows)
        _add_patches(total[rows.start : rows.stop + PATCH - 1], patches)
        _add_patches(count[rows.start : rows.stop + PATCH - 1], np.ones_like(patches))
    r = PATCH // 2
    return np.asarray(large + (total / np.maximum(count, 1))[r:-r, r:-r], np.float32)


def _shrink_size(small: Side, large: Side) -> Side:
    """Return the size that is as much smaller than `small` as `large` is larger."""
    height, width = (max(1, round(a * a / b)) for a, b in zip(small, large, strict=True))
    return height, width


def _pad_border(plane: Plane) -> Plane:
    return np.pad(plane, PATCH // 2, mode="symmetric")


def _propose_details(large: Plane, coarse: Plane, detail: Plane, rows: slice) -> Patches:
    """Return details for the patches around all pixels of those rows: (rows, W, PATCH, PATCH)."""
    height, width = coarse.shape
    y, x = _map_nearest(large.shape[0], height)[rows], _map_nearest(large.shape[1], width)
    near = slice(y[0], y[-1] + 1 + 2 * REACH)
    known, details = (
        _extract_patches(np.pad(plane, REACH, mode="symmetric"), near) for plane in (coarse, detail)
    )
    sought = _extract_patches(large, rows).reshape(-1, PATCH**2)
    index = ((y - y[0])[:, None] * (width + 2 * REACH) + x).ravel()
    span = range(2 * REACH + 1)
    offsets = [row * (width + 2 * REACH) + column for row in span for column in span]
    found = _average_similar(
        sought, known.reshape(-1, PATCH**2), details.reshape(-1, PATCH**2), index, offsets
    )
    return found.reshape(len(y), len(x), PATCH, PATCH)


def _map_nearest(large: int, small: int) -> NDArray[np.intp]:
    """Return for each pixel of a long axis the nearest of a short one."""
    return ((np.arange(large) + 0.5) * small / large).astype(np.intp)


def _extract_patches(plane: Plane, rows: slice) -> Patches:
    """Return a copy of the patches (rows, W, PATCH, PATCH) around the pixels of those rows."""
    part = _pad_border(plane)[rows.start : rows.stop + PATCH - 1]
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(part, (PATCH, PATCH)))


def _average_similar(
    sought: Patches, known: Patches, details: Patches, index: NDArray[np.intp], offsets: list[int]
) -> Patches:
    """Return for each patch the mean of the details around `index`, weighted by similarity."""
    distance = np.empty((len(offsets), len(sought)), np.float32)
    for row, offset in zip(distance, offsets, strict=True):
        apart = sought - known[index + offset]
        np.einsum("ij,ij->i", apart, apart, out=row)
    weights = np.exp((distance.min(axis=0) - distance) / np.float32(2 * PATCH**2 * LIKENESS**2))
    weights /= weights.sum(axis=0)
    out = np.zeros_like(sought)
    for row, offset in zip(weights, offsets, strict=True):
        out += row[:, None] * details[index + offset]
    return out


def _add_patches(plane: Plane, patches: Patches) -> None:
    """Add patches (h, w, PATCH, PATCH) to a plane (h + PATCH - 1, w + PATCH - 1), each at its place."""
    height, width = patches.shape[:2]
    for y in range(PATCH):
        for x in range(PATCH):
            plane[y : y + height, x : x + width] += patches[..., y, x]
