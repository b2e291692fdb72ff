"""What methods that train a network share: the border between pixels and batches, seeds, the reduction."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srcli.imaging.degrade.steps import resize_matrix
from srcli.imaging.pixels import Pixels
from srcli.methods.classical.operators import Values
from srcli.methods.classical.problem import Problem


def to_batch(pixels: Values, device: str) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    planes = np.ascontiguousarray(np.asarray(pixels, np.float32).transpose(2, 0, 1))
    return torch.from_numpy(planes)[None].to(device)


def to_pixels(batch: Tensor) -> Pixels:
    """(1, C, H, W) to (H, W, C)."""
    return np.ascontiguousarray(batch[0].detach().cpu().numpy().transpose(1, 2, 0))


@contextmanager
def drawing(seed: int, device: str) -> Iterator[None]:
    """Random numbers of torch from that seed; afterwards they go on as if nothing had been drawn."""
    graphics = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(graphics):
        torch.manual_seed(seed)
        yield


def oriented(batch: Tensor, k: int) -> Tensor:
    """The k-th of the eight orientations of a square."""
    turned = torch.rot90(batch, k % 4, (2, 3))
    return turned.flip(3) if k >= 4 else turned


def restored(batch: Tensor, k: int) -> Tensor:
    """What `oriented` did undone."""
    return torch.rot90(batch.flip(3) if k >= 4 else batch, -(k % 4), (2, 3))


class Reduce:
    """The twin of `operators.Reduction` that gradients go through: (N, C, H, W) to (N, C, h, w)."""

    def __init__(self, problem: Problem) -> None:
        pairs = zip(problem.size, problem.sides, strict=True)
        self.rows, self.columns = (
            torch.from_numpy(resize_matrix(large, small, "bicubic")).to(problem.device)
            for large, small in pairs
        )
        kernel = problem.blur.weights if problem.blur else np.ones((1, 1))
        self.kernel = torch.from_numpy(np.asarray(kernel, np.float32)).to(problem.device)

    def __call__(self, large: Tensor) -> Tensor:
        """The small images."""
        channels, radius = large.shape[1], len(self.kernel) // 2
        if radius:
            padded = F.pad(large, (radius,) * 4, mode="reflect")
            large = F.conv2d(padded, self.kernel.expand(channels, 1, -1, -1), groups=channels)
        return self.rows @ large @ self.columns.T
