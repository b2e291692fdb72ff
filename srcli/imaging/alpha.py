"""Transparency: what colour to put where nothing is seen, so that none of it shows after enlarging."""

import numpy as np

from srcli.imaging.pixels import Pixels, Plane
from srcli.imaging.resize import resize


def bleed_alpha(pixels: Pixels, alpha: Plane) -> Pixels:
    """(H, W, 3) with the colours of what is seen spread under what is fully transparent.

    Programs leave black, white or anything there; a network would mix it into the edge. Pull and push: means
    over ever larger squares, weighted by alpha, fill what has none. Gortler et al., The Lumigraph, 1996.
    """
    hidden = alpha <= 0
    if not hidden.any() or hidden.all():
        return pixels
    out = pixels.copy()
    out[hidden] = _filled(pixels * alpha[..., None], alpha)[hidden]
    return out


def _filled(weighted: Pixels, weight: Plane) -> Pixels:
    """Colours everywhere, of sums of colours times their weight, and the sums of the weights."""
    height, width = weight.shape
    known = weight > 0
    colours = np.zeros_like(weighted)
    colours[known] = weighted[known] / weight[known, None]
    if known.all() or height == width == 1:
        return colours
    coarse = _filled(_halved(weighted), _halved(weight))
    below = resize(coarse, coarse.shape[0] * 2, coarse.shape[1] * 2, "bilinear")[:height, :width]
    colours[~known] = below[~known]
    return colours


def _halved(values: Pixels) -> Pixels:
    """Sums over squares of two by two; an odd border counts once."""
    even = np.pad(values, [(0, side % 2) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2))
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
