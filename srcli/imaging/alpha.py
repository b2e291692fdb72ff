"""Transparency: colours under transparent pixels are replaced, so that none of them shows after upscaling."""

from typing import Self

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging.colorspace import decode_srgb
from srcli.imaging.pixels import Pixels, Plane, StoredSamples
from srcli.imaging.rows import Rows, resize_rows

# Rows that are looked at together: an even number.
_BAND = 64


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


def bleed_alpha(colours: Rows, alpha: Rows) -> Rows:
    """Return the colours of visible pixels, spread under fully transparent ones.

    Programs leave black, white or anything there, and a network would mix it into the edge. Pull-push: means
    over squares of growing size, weighted by alpha, fill the gaps. Gortler et al., The Lumigraph, 1996.
    In memory are the means over squares of 2x2 pixels, and larger ones; the image itself stays in rows.
    """
    gaps = _Gaps.find(colours, alpha)
    if gaps is None:
        return colours
    below = _enlarge(_fill_gaps(gaps.weighted, gaps.weight), colours.width)

    def read(start: int, stop: int) -> Pixels:
        own, hidden = colours.read(start, stop), alpha.read(start, stop) <= 0
        return np.where(hidden, below.read(start, stop), own) if hidden.any() else own

    return Rows(colours.height, colours.width, read, gaps.grey)


@dataclass(frozen=True)
class _Gaps:
    """Sums over squares of 2x2 pixels of alpha and of colours times alpha; `grey`: what is seen is grey."""

    weighted: Pixels
    weight: Plane
    grey: bool

    @classmethod
    def find(cls, colours: Rows, alpha: Rows) -> Self | None:
        """Return None if no pixel is fully transparent, or all are."""
        height, width = -(-colours.height // 2), -(-colours.width // 2)
        weighted, weight = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
        any_hidden, any_visible, grey = False, False, True
        for top in range(0, colours.height, _BAND):
            band, share = (rows.read(top, min(top + _BAND, rows.height)) for rows in (colours, alpha))
            visible = share[..., 0] > 0
            any_hidden, any_visible = any_hidden or not visible.all(), any_visible or bool(visible.any())
            grey = grey and bool((band[..., :1] == band[..., 1:])[visible].all())
            place = slice(top // 2, top // 2 + -(-len(band) // 2))
            weighted[place], weight[place] = _sum_quads(band * share), _sum_quads(share[..., 0])
        return cls(weighted, weight, grey) if any_hidden and any_visible else None


def _fill_gaps(weighted: Pixels, weight: Plane) -> Pixels:
    """Return colours for all pixels, from colours multiplied by weights (H, W), which they replace."""
    known = weight > 0
    if known.all() or weight.size == 1:
        np.divide(weighted, weight[..., None], out=weighted, where=known[..., None])
        return weighted
    below = _enlarge(_fill_gaps(_sum_quads(weighted), _sum_quads(weight)), weight.shape[1])
    for top in range(0, len(weight), _BAND):
        own, seen = weighted[top : top + _BAND], known[top : top + _BAND, :, None]
        np.divide(own, weight[top : top + _BAND, :, None], out=own, where=seen)
        np.copyto(own, below.read(top, top + len(own)), where=~seen)
    return weighted


def _enlarge(coarse: Pixels, width: int) -> Rows:
    """Return the rows of an image of twice the height, the last of which may be too many, and of `width`."""
    height, half = coarse.shape[:2]
    rows = resize_rows(
        Rows(height, half, lambda start, stop: coarse[start:stop]), 2 * height, 2 * half, "bilinear"
    )
    return rows.map(lambda band: band[:, :width])


def _sum_quads(values: Pixels) -> Pixels:
    """Sum squares of 2x2 pixels; an odd border counts once."""
    odd = [side % 2 for side in values.shape[:2]]
    even = np.pad(values, [(0, side) for side in odd] + [(0, 0)] * (values.ndim - 2)) if any(odd) else values
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
