"""Pieces that several networks are built from, written once."""

import torch
from torch import Tensor


def bicubic_phases(scale: int) -> Tensor:
    """A kernel (scale**2, 1, 5, 5) that with a pixel shuffle enlarges a plane by Keys' cubic (a = -1/2).

    The input has to be padded by two pixels, by repeating its edge.
    """
    centres = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    distance = (torch.arange(-2, 3) - centres[:, None]).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
    return torch.einsum("yi,xj->yxij", taps, taps).reshape(scale**2, 1, 5, 5).float()
