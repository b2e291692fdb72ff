"""Transparency: colours under transparent pixels are replaced, so that none of them shows after upscaling."""

import numpy as np

from srcli.imaging.colorspace import decode_srgb
from srcli.imaging.pixels import Pixels, Plane, StoredSamples
from srcli.imaging.resize import resize


def flatten_alpha(samples: StoredSamples, colour: tuple[float, float, float]) -> StoredSamples:
    """Lay samples (H, W, 2 or 4) over a colour in [0, 1]; return (H, W), or (H, W, 3) if either has colours.

    Integers are composed as they are stored, as viewers do it; floats are linear light.
    """
    is_float = samples.dtype.kind == "f"
    top = 1.0 if is_float else float(2 ** (8 * samples.dtype.itemsize) - 1)
    behind = np.array(colour, np.float32)
    if is_float:
        behind = np.asarray(decode_srgb(behind), np.float32)
    own = samples[..., :-1].astype(np.float32)
    if own.shape[2] == 1:
        own, behind = (own, behind[:1]) if len(set(colour)) == 1 else (np.repeat(own, 3, axis=2), behind)
    share = samples[..., -1:].astype(np.float32) / np.float32(top)
    mixed = own * share + behind * np.float32(top) * (1 - share)
    flat = mixed if is_float else np.rint(mixed).astype(samples.dtype)
    return np.ascontiguousarray(flat[..., 0] if flat.shape[2] == 1 else flat)


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
