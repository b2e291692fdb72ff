"""Whether an exported network computes what torch computes: on patches of a photograph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from srcli.engine.export import Unexportable
from srcli.engine.runtimes.torch import to_batch, to_pixels
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, quantise

# Height and width: of a multiple of all that networks pack, and of none.
SIZES = ((48, 64), (27, 19))
# Less than some networks can take, and a line.
TINY = ((9, 13), (1, 5))
LARGEST_DIFFERENCE = 1e-3
LARGEST_SHARE = 1e-3
_PHOTOGRAPH = Path(__file__).parents[2] / "samples" / "chelsea.png"


@dataclass(frozen=True)
class Difference:
    """What separates two results in [0, 1]: `largest`; and of 8-bit samples the `share`, and `levels`."""

    largest: float
    levels: int
    share: float

    def __str__(self) -> str:
        samples = (
            f"{self.share:.3%} of 8-bit samples differ, by {self.levels}" if self.levels else "8-bit equal"
        )
        return f"at most {self.largest:.1e} from torch, {samples}"

    @property
    def small(self) -> bool:
        """Whether an image is the same by both."""
        close = self.largest <= LARGEST_DIFFERENCE
        return close and self.levels <= 1 and self.share <= LARGEST_SHARE


def difference(
    network: nn.Module, run: Callable[[Pixels], Pixels], sizes: tuple[tuple[int, int], ...] = SIZES
) -> Difference:
    """How far `run` is from the network, which is in evaluation mode, on the CPU.

    Raises `Unexportable` where that is too far.
    """
    pairs = [_pair(network, run, patch(height, width, network)) for height, width in sizes]
    if any(one.shape != other.shape for one, other in pairs):
        raise Unexportable("its result has another size than torch's")
    ours, theirs = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    steps = np.abs(quantise(ours) - quantise(theirs))
    found = Difference(float(np.abs(ours - theirs).max()), int(steps.max()), float((steps > 0).mean()))
    if not found.small:
        raise Unexportable(f"its result differs: {found}")
    return found


def patch(height: int, width: int, network: nn.Module) -> Pixels:
    """(H, W, C) of a photograph."""
    pixels = read_image(_PHOTOGRAPH).pixels[80 : 80 + height, 140 : 140 + width]
    return pixels if network.channels == 3 else luma(pixels)[..., None]


@torch.inference_mode()
def _pair(network: nn.Module, run: Callable[[Pixels], Pixels], source: Pixels) -> tuple[Pixels, Pixels]:
    return run(source), to_pixels(network(to_batch(source)))
