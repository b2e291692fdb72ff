"""Parts shared by methods that train a network: pixels to batches and back, seeds, the reduction."""

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
    """Convert (H, W, C) to (1, C, H, W)."""
    planes = np.ascontiguousarray(np.asarray(pixels, np.float32).transpose(2, 0, 1))
    return torch.from_numpy(planes)[None].to(device)


def to_pixels(batch: Tensor) -> Pixels:
    """Convert (1, C, H, W) to (H, W, C)."""
    return np.ascontiguousarray(batch[0].detach().cpu().numpy().transpose(1, 2, 0))


@contextmanager
def seed_torch(seed: int, device: str) -> Iterator[None]:
    """Seed the random numbers of torch; restore their state afterwards."""
    graphics = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(graphics):
        torch.manual_seed(seed)
        yield


def orient(batch: Tensor, k: int) -> Tensor:
    """Return the k-th of the eight orientations of a square."""
    turned = torch.rot90(batch, k % 4, (2, 3))
    return turned.flip(3) if k >= 4 else turned


def undo_orient(batch: Tensor, k: int) -> Tensor:
    """Undo `orient`."""
    return torch.rot90(batch.flip(3) if k >= 4 else batch, -(k % 4), (2, 3))


class Reduce:
    """`operators.Reduction` for tensors with gradients: (N, C, H, W) to (N, C, h, w)."""

    def __init__(self, problem: Problem) -> None:
        pairs = zip(problem.size, problem.sides, strict=True)
        self.rows, self.columns = (
            torch.from_numpy(resize_matrix(large, small, "bicubic")).to(problem.device)
            for large, small in pairs
        )
        kernel = problem.blur.weights if problem.blur else np.ones((1, 1))
        self.kernel = torch.from_numpy(np.asarray(kernel, np.float32)).to(problem.device)

    def __call__(self, large: Tensor) -> Tensor:
        """Reduce a batch."""
        channels, radius = large.shape[1], len(self.kernel) // 2
        if radius:
            padded = F.pad(large, (radius,) * 4, mode="reflect")
            large = F.conv2d(padded, self.kernel.expand(channels, 1, -1, -1), groups=channels)
        return self.rows @ large @ self.columns.T
