"""Iterative back-projection: what the result lacks when it is downscaled again is added to it.

    x[0] = D+ y,    x[n+1] = clip(x[n] + K' D+ (y - D K x[n]))

with y the small image, D bicubic reduction, D+ bicubic enlargement, K the known blur, K' its transpose.
Irani and Peleg, Improving resolution by image registration, CVGIP 53 (1991), 231-239.
"""

import numpy as np

from srcli.methods.classical.operators import Reduction, Values
from srcli.methods.classical.problem import ROUNDING, Problem
from srcli.methods.classical.settings import Clock

# More rounds amplify the rounding of the input, fewer leave the result less sharp.
ROUNDS = 10
# Undoing a blur takes longer than undoing bicubic reduction alone.
BLURRED_ROUNDS = 60


def solve(problem: Problem) -> Values:
    """Return an image (H, W, C) whose reduction is the small one."""
    reduction = problem.reduction
    rounds = ROUNDS if problem.blur is None else BLURRED_ROUNDS
    return back_project(reduction.enlarge(problem.small), problem.small, reduction, problem.clock, rounds)


def back_project(
    large: Values, small: Values, reduction: Reduction, clock: Clock = Clock(), rounds: int = ROUNDS
) -> Values:
    """Bring `large` (H, W, C) closer to an image that reduces to `small`, until only rounding is left."""
    for _ in clock.rounds(rounds):
        error = small - reduction(large)
        if np.mean(error**2) < ROUNDING / 4:
            break
        large = np.clip(large + _back(error, reduction), 0, 1)
    return large


def _back(error: Values, reduction: Reduction) -> Values:
    spread = reduction.enlarge(error)
    return reduction.blur.adjoint(spread) if reduction.blur else spread
