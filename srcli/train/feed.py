"""Batches: random crops of a store, degraded where that is not done ahead, augmented, as tensors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from srcli.errors import UsageError
from srcli.imaging.color import luma
from srcli.imaging.degrade import degradations as imaging
from srcli.imaging.degrade.steps import Resizing, Rng
from srcli.scales import Axis
from srcli.train import degrade
from srcli.train.augment import USUAL, Augmentation, Batch
from srcli.train.planes import Boxes, Numbers, Plane
from srcli.train.store import Store, StoreSpec

# Luma is an affine function: its value at black, and what each channel adds to it.
_OFFSET = luma(np.zeros(3))
_WEIGHTS = luma(np.eye(3)) - _OFFSET


@dataclass(frozen=True)
class Feed:
    """What batches are drawn from, for networks of `channels` 1 (luma) or 3 (RGB), and what is done to them.

    Raises `UsageError` for CutBlur where the network is fed with small images.
    """

    store: Store
    channels: int
    augmentation: Augmentation = USUAL

    def __post_init__(self) -> None:
        if self.augmentation.cutblur and not self.store.wanted.enlarged:
            hint = "it is for those that are fed with enlarged images, as srcnn and vdsr are"
            raise UsageError("cutblur does not suit this network", hint)


@torch.no_grad()
def draw(feed: Feed, patch: int, count: int, rng: Rng) -> Batch:
    """`count` images where the store's samples are; all chance is of `rng`: equal states, equal batches.

    `patch`: side in pixels of the network's input, not above the store's; where that is enlarged, the next
    multiple of the scale is drawn.
    """
    if patch > feed.store.wanted.patch:
        raise ValueError(f"the store was opened for patches up to {feed.store.wanted.patch}, not {patch}")
    side = replace(feed.store.wanted, patch=patch).side
    boxes = _boxes(feed, side, count, rng)
    order = feed.augmentation.orders(count, rng)
    lr = feed.store.lr
    batch = _ahead(feed, lr, boxes, side, order) if lr else _made(feed, boxes, side, order, rng)
    return feed.augmentation.mixed(batch, rng)


@torch.no_grad()
def draw_any(feed: Feed, scale: float, patch: int, count: int, rng: Rng, *, part: bool = True) -> Batch:
    """`count` images of `patch` pixels a side, reduced by any scale, and as large a part of what they were.

    All of it without `part`. The store's own scale has to be 1, and its patch that of the largest scale.
    """
    side = round(patch * scale)
    if side > feed.store.wanted.patch:
        raise ValueError(f"the store was opened for {feed.store.wanted.patch} pixels, not {side}")
    boxes = _boxes(feed, side, count, rng)
    crops = _reordered(feed.store.hr.cut(boxes, side), feed.augmentation.orders(count, rng))
    hr = _values(crops, 3)
    lr = degrade.apply(hr, [(Resizing(patch, patch, "bicubic", rounded=True),)] * count)
    learned = patch if part else side
    y, x = (_axis(patch, side, learned, int(rng.integers(side - learned + 1))) for _ in range(2))
    hr = hr[..., y.target, x.target]
    lr, hr = (images if feed.channels == 3 else _luma(images) for images in (lr, hr))
    return Batch(lr, hr, lr, (y, x))


def _axis(inputs: int, outputs: int, learned: int, first: int) -> Axis:
    return Axis(inputs, outputs, 0, first, first + learned)


def _boxes(feed: Feed, side: int, count: int, rng: Rng) -> Boxes:
    """Images by their shares, places evenly inside them."""
    store = feed.store
    image = np.searchsorted(store.sums, rng.random(count), side="right")
    top = rng.integers(store.rows[image] - side + 1)
    left = rng.integers(store.columns[image] - side + 1)
    return Boxes(image, top, left, feed.augmentation.turns(count, rng))


def _ahead(feed: Feed, small: Plane, boxes: Boxes, side: int, order: Numbers | None) -> Batch:
    """A batch whose low resolution is in the store."""
    store, scale = feed.store, feed.store.wanted.scale

    def values(plane: Plane, step: int) -> Tensor:
        crops = plane.cut(boxes.times(step), side * step)
        return _values(_reordered(crops, order), feed.channels)

    lr = values(small, 1)
    return Batch(lr, values(store.hr, scale), values(store.fed, scale) if store.fed else lr)


def _made(feed: Feed, boxes: Boxes, side: int, order: Numbers | None, rng: Rng) -> Batch:
    """A batch whose low resolution is made of its high resolution."""
    wanted = feed.store.wanted
    crops = feed.store.hr.cut(boxes.times(wanted.scale), side * wanted.scale)
    hr = _values(_reordered(crops, order), 3)
    lr = _degraded(hr, wanted, rng)
    fed = _enlarged(lr, hr) if wanted.enlarged else lr
    if feed.channels == 3:
        return Batch(lr, hr, fed)
    y = _luma(lr)
    return Batch(y, _luma(hr), _luma(fed) if wanted.enlarged else y)


def _degraded(hr: Tensor, wanted: StoreSpec, rng: Rng) -> Tensor:
    """On a CPU one image after another, by NumPy and a real codec: three times as fast as the twin there."""
    if hr.device.type != "cpu":
        return degrade.degraded(hr, wanted.scale, wanted.degradation, rng)
    images = hr.permute(0, 2, 3, 1).contiguous().numpy()
    small = [imaging.degrade_image(image, wanted.scale, wanted.degradation, rng) for image in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()


def _enlarged(lr: Tensor, hr: Tensor) -> Tensor:
    """As the store's own: MATLAB's 8-bit bicubic."""
    return degrade.apply(lr, [(Resizing(hr.shape[2], hr.shape[3], "bicubic", rounded=True),)] * len(lr))


def _reordered(crops: Tensor, order: Numbers | None) -> Tensor:
    """Crops (N, h, w, 3) with the channels of each in its own order."""
    if order is None:
        return crops
    index = torch.from_numpy(order).to(crops.device)[:, None, None]
    return crops.gather(3, index.expand(crops.shape))


def _values(crops: Tensor, channels: int) -> Tensor:
    """(N, h, w, 3) 8-bit samples as (N, C, h, w) in [0, 1]; C is 3, or 1 for luma."""
    values = crops.float()
    if channels == 3:
        return values.permute(0, 3, 1, 2).div_(255)
    weights = torch.from_numpy(_WEIGHTS / 255).to(values)
    # As one long product of a matrix and a vector: three times as fast as a sum over channels.
    plane = torch.mv(values.view(-1, 3), weights).add_(float(_OFFSET))
    return plane.view(len(crops), 1, *crops.shape[1:3])


def _luma(batch: Tensor) -> Tensor:
    """(N, 1, h, w) of (N, 3, h, w)."""
    return torch.einsum("c,nchw->nhw", torch.from_numpy(_WEIGHTS).to(batch), batch)[:, None] + float(_OFFSET)
