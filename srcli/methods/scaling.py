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
# By how much a result is enlarged by resizing rather than by one more network.
_LARGEST_RESIZE = 1.3


def _has_exact_chain(scale: float, available: tuple[int, ...], length: int) -> bool:
    return any(math.prod(chain) == scale for chain in combinations_with_replacement(available, length))


def check_scale(scale: float, *, has_one: bool = False) -> None:
    """Raise `UsageError` unless 1 < `scale` <= `LARGEST_SCALE`.

    `has_one`: a scale of 1 is right as well, for networks that keep the size.
    """
    if has_one and scale == 1:
        return
    if not (math.isfinite(scale) and 1 < scale <= LARGEST_SCALE):
        raise UsageError(f"cannot upscale by {scale:g}", f"choose a scale above 1, up to {LARGEST_SCALE}")


def compute_output_size(source: Pixels | Rows, scale: float) -> Sides:
    """Return height and width of `source` times `scale`, rounded half up; at least one pixel each."""
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in source.shape[:2])
    return height, width


def plan_scale_chain(scale: float, available: tuple[int, ...]) -> tuple[int, ...]:
    """Return the scales of the networks to run one after the other; what is left is resized.

    The fewest whose product is at least `scale`, and of equally many the smallest product. If one network
    fewer comes close to the scale, it is left out, as it would cost several times as much as all others: for
    x5, x4 is enough. A network of any scale is enough on its own.
    """
    if ANY in available:
        return (ANY,)
    if scale > 1 and max(available) == 1:
        raise UsageError(f"cannot upscale by {scale:g}: the network keeps the size", "use -x1")
    if scale == 1 and 1 not in available:
        known = ", ".join(f"x{own}" for own in sorted(available))
        raise UsageError(f"-x1 needs a network that keeps the size, and this one is for {known}", "change -x")
    for length in range(1, _LONGEST_CHAIN + 1):
        chains = list(combinations_with_replacement(sorted(available, reverse=True), length))
        sufficient = [chain for chain in chains if math.prod(chain) >= scale]
        if sufficient:
            return min(sufficient, key=math.prod)
        largest = max(chains, key=math.prod)
        if math.prod(largest) * _LARGEST_RESIZE >= scale and not _has_exact_chain(
            scale, available, length + 1
        ):
            return largest
    raise UsageError(f"cannot upscale by {scale:g} with networks for {available}", "choose a smaller scale")
