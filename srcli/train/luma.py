"""Luma of batches of images, as torch computes it; `imaging.color` does so for arrays."""

import numpy as np
import torch
from torch import Tensor

from srcli.imaging.color import luma

# Luma is an affine function: its value at black, and what each channel adds to it.
OFFSET = float(luma(np.zeros(3)))
WEIGHTS = luma(np.eye(3)) - OFFSET


def convert_channels(batch: Tensor, channels: int) -> Tensor:
    """Convert (N, 1, h, w) of luma to grey RGB, or (N, 3, h, w) of RGB to luma; or return it as it is."""
    if batch.shape[1] == channels:
        return batch
    if channels == 1:
        return torch.einsum("c,nchw->nhw", torch.from_numpy(WEIGHTS).to(batch), batch)[:, None] + OFFSET
    return ((batch - OFFSET) / float(WEIGHTS.sum())).expand(-1, 3, -1, -1)
