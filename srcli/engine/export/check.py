"""Checks that an exported network computes what torch computes, on crops of a photograph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from srcli.engine.export import UnexportableError
from srcli.engine.runtimes.torch import to_batch, to_pixels
from srcli.engine.sample_photo import crop_photo
from srcli.imaging.pixels import Pixels, quantise

# Height and width: a multiple of everything that networks are aligned to, and of nothing.
SIZES = ((48, 64), (27, 19))
# Smaller than some networks can take, and a single row.
TINY_SIZES = ((9, 13), (1, 5))
LARGEST_DIFFERENCE = 1e-3
LARGEST_SHARE = 1e-3


@dataclass(frozen=True)
class Difference:
    """The difference between two results in [0, 1].

    `largest`: the largest difference; `share`: of 8-bit samples that differ, by at most `levels`.
    """

    largest: float
    levels: int
    share: float

    def __str__(self) -> str:
        samples = (
            f"{self.share:.3%} of 8-bit samples differ, by {self.levels}"
            if self.levels
            else "equal in 8 bits"
        )
        return f"at most {self.largest:.1e} from torch, {samples}"

    @property
    def is_negligible(self) -> bool:
        """True if both make the same image."""
        close = self.largest <= LARGEST_DIFFERENCE
        return close and self.levels <= 1 and self.share <= LARGEST_SHARE


def compare_with_torch(
    network: nn.Module, run: Callable[[Pixels], Pixels], sizes: tuple[tuple[int, int], ...] = SIZES
) -> Difference:
    """Return how far `run` is from the network, which is in evaluation mode, on the CPU.

    Raises `UnexportableError` if that is too far.
    """
    pairs = [_run_both(network, run, crop_for(network, height, width)) for height, width in sizes]
    if any(one.shape != other.shape for one, other in pairs):
        raise UnexportableError("its result differs in size from torch's")
    ours, theirs = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise UnexportableError("its result is not finite")
    steps = np.abs(quantise(ours) - quantise(theirs))
    found = Difference(float(np.abs(ours - theirs).max()), int(steps.max()), float((steps > 0).mean()))
    if not found.is_negligible:
        raise UnexportableError(f"its result differs: {found}")
    return found


def crop_for(network: nn.Module, height: int, width: int) -> Pixels:
    """Return (H, W, C) of a photograph, with as many channels as the network takes."""
    return crop_photo(height, width, int(network.channels))  # type: ignore[arg-type]


@torch.inference_mode()
def _run_both(network: nn.Module, run: Callable[[Pixels], Pixels], source: Pixels) -> tuple[Pixels, Pixels]:
    return run(source), to_pixels(network(to_batch(source)))
