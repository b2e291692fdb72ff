"""Batches as tensors: random crops of a store, degraded unless the store holds them so, and augmented."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from srcli.errors import UsageError
from srcli.imaging.degrade import degradations as imaging
from srcli.imaging.degrade.steps import Resizing, Rng
from srcli.scales import Axis
from srcli.train import degrade
from srcli.train.augment import USUAL, WHOLE, Augmentation, Batch, Share
from srcli.train.luma import OFFSET, WEIGHTS, convert_channels
from srcli.train.planes import Boxes, Numbers, Plane
from srcli.train.store import Store, StoreSpec


@dataclass(frozen=True)
class Feed:
    """A store to draw batches from, for networks of `channels` 1 (luma) or 3 (RGB), and the augmentation.

    Raises `UsageError` for CutBlur if the network takes low-resolution images.
    """

    store: Store
    channels: int
    augmentation: Augmentation = USUAL

    def __post_init__(self) -> None:
        if self.augmentation.cutblur and not self.store.wanted.enlarged:
            hint = "it needs a network whose input is upscaled first, such as srcnn or vdsr"
            raise UsageError("cutblur does not work with this network", hint)


@dataclass(frozen=True)
class Drawer:
    """Draws batches of several scales; all of them share the decoded images.

    `feeds`: by scale; one of scale 1 if the scale is any. `part`: the target of any scale is a part of the
    crop, of the size of the input.
    """

    feeds: dict[int, Feed]
    any_scale: bool = False
    part: bool = True

    def __call__(self, scale: float, patch: int, count: int, rng: Rng, share: Share = WHOLE) -> Batch:
        """Draw a share of `count` images, as `draw` or `draw_any` do."""
        if self.any_scale:
            return draw_any(self.feeds[1], scale, patch, count, rng, share, part=self.part)
        return draw(self.feeds[int(scale)], patch, count, rng, share)


@torch.no_grad()
def draw(feed: Feed, patch: int, count: int, rng: Rng, share: Share = WHOLE) -> Batch:
    """Draw a share of `count` images on the store's device.

    All randomness is from `rng`: equal states give equal batches, and all shares make up the whole, except
    that images are mixed with others of their share only. No image of another share is cut or degraded.
    `patch`: side in pixels of the network's input, not above the store's; where that is enlarged, the next
    multiple of the scale is drawn.
    """
    if patch > feed.store.wanted.patch:
        raise ValueError(f"the store was opened for patches up to {feed.store.wanted.patch}, not {patch}")
    side = replace(feed.store.wanted, patch=patch).side
    own = share.slice(count)
    boxes = _draw_boxes(feed, side, count, rng).only(own)
    order = _draw_orders(feed, count, rng, own)
    seeds = rng.integers(2**63, size=count)[own]
    mixing = np.random.default_rng((int(rng.integers(2**63)), share.number))
    lr = feed.store.lr
    if lr:
        batch = _cut_stored(feed, lr, boxes, side, order)
    else:
        batch = _cut_and_degrade(feed, boxes, side, order, seeds)
    return feed.augmentation.mix(batch, mixing)


@torch.no_grad()
def draw_any(
    feed: Feed, scale: float, patch: int, count: int, rng: Rng, share: Share = WHOLE, *, part: bool = True
) -> Batch:
    """Draw a share of `count` crops, downscaled by any scale to `patch` pixels a side, with targets.

    Without `part`, the target is the whole crop. The store's own scale has to be 1, and its patch that of the
    largest scale.
    """
    side = round(patch * scale)
    if side > feed.store.wanted.patch:
        raise ValueError(f"the store was opened for {feed.store.wanted.patch} pixels, not {side}")
    own = share.slice(count)
    boxes = _draw_boxes(feed, side, count, rng).only(own)
    crops = _reorder(feed.store.hr.cut(boxes, side), _draw_orders(feed, count, rng, own))
    hr = _to_floats(crops, 3)
    lr = degrade.apply(hr, [(Resizing(patch, patch, "bicubic", rounded=True),)] * len(hr))
    learned = patch if part else side
    y, x = (_make_axis(patch, side, learned, int(rng.integers(side - learned + 1))) for _ in range(2))
    hr = hr[..., y.target, x.target]
    lr, hr = (convert_channels(images, feed.channels) for images in (lr, hr))
    return Batch(lr, hr, lr, (y, x))


def _make_axis(inputs: int, outputs: int, learned: int, first: int) -> Axis:
    return Axis(inputs, outputs, 0, first, first + learned)


def _draw_boxes(feed: Feed, side: int, count: int, rng: Rng) -> Boxes:
    """Draw images by their weights, and places uniformly inside them."""
    store = feed.store
    image = np.searchsorted(store.sums, rng.random(count), side="right")
    top = rng.integers(store.rows[image] - side + 1)
    left = rng.integers(store.columns[image] - side + 1)
    return Boxes(image, top, left, feed.augmentation.turns(count, rng))


def _draw_orders(feed: Feed, count: int, rng: Rng, own: slice) -> Numbers | None:
    orders = feed.augmentation.orders(count, rng)
    return None if orders is None else orders[own]


def _cut_stored(feed: Feed, small: Plane, boxes: Boxes, side: int, order: Numbers | None) -> Batch:
    """Cut a batch whose low resolution is in the store."""
    store, scale = feed.store, feed.store.wanted.scale

    def cut(plane: Plane, step: int, channels: int = feed.channels) -> Tensor:
        crops = plane.cut(boxes.times(step), side * step)
        return _to_floats(_reorder(crops, order), channels)

    lr, hr = cut(small, 1), cut(store.hr, scale)
    fed = cut(store.fed, scale) if store.fed else lr
    if store.wanted.enlarged and not store.fed:
        fed = convert_channels(_upscale(cut(small, 1, 3), hr), feed.channels)
    return Batch(lr, hr, fed, teacher=cut(store.teacher, scale) if store.teacher else None)


def _cut_and_degrade(feed: Feed, boxes: Boxes, side: int, order: Numbers | None, seeds: Numbers) -> Batch:
    """Cut a batch and degrade it, each image by a generator of its own."""
    wanted = feed.store.wanted
    crops = feed.store.hr.cut(boxes.times(wanted.scale), side * wanted.scale)
    hr = _to_floats(_reorder(crops, order), 3)
    lr = _degrade(hr, wanted, [np.random.default_rng(seed) for seed in seeds])
    fed = _upscale(lr, hr) if wanted.enlarged else lr
    if feed.channels == 3:
        return Batch(lr, hr, fed)
    y = convert_channels(lr, 1)
    return Batch(y, convert_channels(hr, 1), convert_channels(fed, 1) if wanted.enlarged else y)


def _degrade(hr: Tensor, wanted: StoreSpec, rngs: Sequence[Rng]) -> Tensor:
    """Degrade a batch; on a CPU image by image with NumPy and a real codec, which is three times faster."""
    if hr.device.type != "cpu":
        return degrade.degrade_batch(hr, wanted.scale, wanted.degradation, rngs)
    images = zip(hr.permute(0, 2, 3, 1).contiguous().numpy(), rngs, strict=True)
    small = [imaging.degrade_image(image, wanted.scale, wanted.degradation, rng) for image, rng in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()


def _upscale(lr: Tensor, hr: Tensor) -> Tensor:
    """Upscale by MATLAB's 8-bit bicubic, as the store does."""
    return degrade.apply(lr, [(Resizing(hr.shape[2], hr.shape[3], "bicubic", rounded=True),)] * len(lr))


def _reorder(crops: Tensor, order: Numbers | None) -> Tensor:
    """Reorder the channels of each crop (N, h, w, 3)."""
    if order is None:
        return crops
    index = torch.from_numpy(order).to(crops.device)[:, None, None]
    return crops.gather(3, index.expand(crops.shape))


def _to_floats(crops: Tensor, channels: int) -> Tensor:
    """Convert 8-bit samples (N, h, w, 3) to (N, C, h, w) in [0, 1]; C is 3, or 1 for luma."""
    values = crops.float()
    if channels == 3:
        return values.permute(0, 3, 1, 2).div_(255)
    weights = torch.from_numpy(WEIGHTS / 255).to(values)
    # As one long product of a matrix and a vector: three times as fast as a sum over channels.
    plane = torch.mv(values.view(-1, 3), weights).add_(OFFSET)
    return plane.view(len(crops), 1, *crops.shape[1:3])
