"""Unsharp masking of training images, for photographs whose edges are too soft to learn from."""

import numpy as np

from srcli.imaging.pixels import Pixels

_SIZE = 51
_SIGMA = 8.0
# In 8-bit levels: smaller differences from the surroundings are left alone, so that noise is not amplified.
_THRESHOLD = 10


def unsharp_mask(pixels: Pixels, amount: float) -> Pixels:
    """Sharpen the edges of (H, W, C) in [0, 1] by `amount`.

    Source: Real-ESRGAN, https://arxiv.org/abs/2107.10833, section 4.1; its training takes 0.5.
    """
    detail = pixels - _blur(pixels)
    edges = _blur((np.abs(detail) * 255 > _THRESHOLD).astype(np.float32))
    raised: Pixels = np.clip(pixels + np.float32(amount) * detail, 0, 1)
    return edges * raised + (1 - edges) * pixels


def _blur(pixels: Pixels) -> Pixels:
    import cv2

    border = cv2.BORDER_REFLECT_101
    return np.asarray(cv2.GaussianBlur(pixels, (_SIZE, _SIZE), _SIGMA, borderType=border), np.float32)
