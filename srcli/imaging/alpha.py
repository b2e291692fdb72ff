"""Transparency: colours under transparent pixels are replaced, so that none of them shows after upscaling."""

import numpy as np

from srcli.imaging.pixels import Pixels, Plane
from srcli.imaging.resize import resize


def bleed_alpha(pixels: Pixels, alpha: Plane) -> Pixels:
    """Return (H, W, 3) with the colours of visible pixels spread under fully transparent ones.

    Programs leave black, white or anything there, and a network would mix it into the edge. Pull-push: means
    over squares of growing size, weighted by alpha, fill the gaps. Gortler et al., The Lumigraph, 1996.
    """
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return pixels
    out = pixels.copy()
    out[hidden] = _fill_gaps(pixels * alpha[..., None], alpha)[hidden]
    return out


def _fill_gaps(weighted: Pixels, weight: Plane) -> Pixels:
    """Return colours for all pixels, from colours multiplied by weights (H, W)."""
    height, width = weight.shape
    known = weight > 0
    colours = np.zeros_like(weighted)
    colours[known] = weighted[known] / weight[known, None]
    if known.all() or height == width == 1:
        return colours
    coarse = _fill_gaps(_sum_quads(weighted), _sum_quads(weight))
    below = resize(coarse, coarse.shape[0] * 2, coarse.shape[1] * 2, "bilinear")[:height, :width]
    colours[~known] = below[~known]
    return colours


def _sum_quads(values: Pixels) -> Pixels:
    """Sum squares of 2x2 pixels; an odd border counts once."""
    even = np.pad(values, [(0, side % 2) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2))
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
