"""Unsharp masking of what is learned from, where edges of photographs are too soft to be a model."""

import numpy as np

from srcli.imaging.pixels import Pixels

_SIZE = 51
_SIGMA = 8.0
# In 8-bit levels: what differs less from its surroundings stays as it is, so that noise is not raised.
_LEAST = 10


def unsharp_mask(pixels: Pixels, amount: float) -> Pixels:
    """(H, W, C) in [0, 1] with what sets edges apart from their surroundings raised by `amount`.

    Source: Real-ESRGAN, https://arxiv.org/abs/2107.10833, section 4.1; its training takes 0.5.
    """
    detail = pixels - _blurred(pixels)
    edges = _blurred((np.abs(detail) * 255 > _LEAST).astype(np.float32))
    raised: Pixels = np.clip(pixels + np.float32(amount) * detail, 0, 1)
    return edges * raised + (1 - edges) * pixels


def _blurred(pixels: Pixels) -> Pixels:
    import cv2

    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.GaussianBlur(pixels, (_SIZE, _SIZE), _SIGMA, borderType=border), np.float32)
