"""Scales and sizes: which scales are valid, the size they give, and the networks that reach it."""

import math
from itertools import combinations_with_replacement

from srcli.engine.upscaler import Sides
from srcli.errors import UsageError
from srcli.imaging.pixels import Pixels
from srcli.imaging.rows import Rows
from srcli.scales import ANY

LARGEST_SCALE = 32
# Networks in one chain: five of x2 reach the largest scale.
_LONGEST_CHAIN = 5


def check_scale(scale: float) -> None:
    """Raise `UsageError` unless 1 < `scale` <= `LARGEST_SCALE`."""
    if not (math.isfinite(scale) and 1 < scale <= LARGEST_SCALE):
        raise UsageError(f"cannot upscale by {scale:g}", f"choose a scale above 1, up to {LARGEST_SCALE}")


def compute_output_size(source: Pixels | Rows, scale: float) -> Sides:
    """Return height and width of `source` times `scale`, rounded half up; at least one pixel each."""
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in source.shape[:2])
    return height, width


def plan_scale_chain(scale: float, available: tuple[int, ...]) -> tuple[int, ...]:
    """Return the fewest scales whose product is at least `scale`; of equally many, the smallest product.

    A network of any scale is enough on its own.
    """
    if ANY in available:
        return (ANY,)
    for length in range(1, _LONGEST_CHAIN + 1):
        chains = combinations_with_replacement(sorted(available, reverse=True), length)
        sufficient = [chain for chain in chains if math.prod(chain) >= scale]
        if sufficient:
            return min(sufficient, key=math.prod)
    raise UsageError(f"cannot upscale by {scale:g} with networks for {available}", "choose a smaller scale")
