"""Luma separate from colours, for methods that compare patches: the eye and the papers' figures need luma."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from srcli.imaging.color import luma, merge_luma
from srcli.methods.classical.operators import Values
from srcli.methods.classical.problem import Problem


def solve_luma(problem: Problem, solve: Callable[[Problem], Values]) -> Values:
    """Return (H, W, C) with luma by `solve`, which takes (h, w, 1), and colours by bicubic."""
    if problem.small.shape[2] == 1:
        return solve(problem)
    small = np.asarray(luma(problem.small), np.float32)
    plane = np.asarray(solve(replace(problem, small=small[..., None])), np.float32)
    colours = np.asarray(problem.reduction.enlarge(problem.small), np.float32)
    return merge_luma(plane[..., 0], colours)
