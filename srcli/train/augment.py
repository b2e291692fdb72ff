"""Augmentation of crops, with all randomness from one generator.

mixup: https://arxiv.org/abs/1710.09412, for super-resolution https://arxiv.org/abs/1906.04809; CutMix:
https://arxiv.org/abs/1905.04899; CutBlur, compared with the others: https://arxiv.org/abs/2004.00448
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.errors import UsageError
from srcli.imaging.degrade.steps import Rng
from srcli.scales import Window
from srcli.train.planes import Numbers

# Both ends of Beta(1.2, 1.2): CutBlur's setting for mixup.
_BETA = 1.2


@dataclass(frozen=True)
class Batch:
    """Tensors (N, C, h, w) in [0, 1]: small images, large ones, and what the network is fed with.

    `fed` is `lr`, unless the network takes images enlarged by bicubic. `window`: which part of the network's
    output `hr` is, for one of any scale. `teacher`: a teacher's output for `lr`, if it was made ahead.
    """

    lr: Tensor
    hr: Tensor
    fed: Tensor
    window: Window | None = None
    teacher: Tensor | None = None

    def pin_memory(self) -> "Batch":
        """Return the batch in memory from which a GPU copies while the processor goes on."""
        lr, hr = self.lr.pin_memory(), self.hr.pin_memory()
        fed = lr if self.fed is self.lr else self.fed.pin_memory()
        return Batch(lr, hr, fed, self.window, None if self.teacher is None else self.teacher.pin_memory())


@dataclass(frozen=True)
class Share:
    """One of `count` equal parts of a batch: that of one of several processes."""

    number: int = 0
    count: int = 1

    def slice(self, images: int) -> slice:
        """Return its place in a batch of that many images, a multiple of `count`."""
        size = images // self.count
        return slice(self.number * size, (self.number + 1) * size)


WHOLE = Share()


@dataclass(frozen=True)
class Augmentation:
    """The augmentations to apply, the last three with a probability for each image.

    `flip`: left and right; `rotate`: by quarter turns; `shuffle`: the order of red, green and blue;
    `mixup`: blended with another image; `cutmix`: a rectangle of another image; `cutblur`: fed with the sharp
    image in a rectangle, or in all but a rectangle.
    """

    flip: bool = False
    rotate: bool = False
    shuffle: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    cutblur: float = 0.0

    def __str__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ",".join(n if v is True else f"{n}={v:g}" for n, v in values if v) or "none"

    def turns(self, count: int, rng: Rng) -> Numbers:
        """Draw an orientation of 0 to 7 for each of `count` crops."""
        quarters = rng.integers(4, size=count) if self.rotate else np.zeros(count, np.int64)
        return quarters + 4 * (rng.integers(2, size=count) if self.flip else 0)

    def orders(self, count: int, rng: Rng) -> Numbers | None:
        """Draw an order of the channels for each of `count` crops (N, 3), or None to leave them."""
        return rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1) if self.shuffle else None

    def mix(self, batch: Batch, rng: Rng) -> Batch:
        """Apply mixup, CutMix and CutBlur, as far as they are enabled."""
        for probability, mix in ((self.mixup, _mixup), (self.cutmix, _cutmix), (self.cutblur, _cutblur)):
            if probability:
                batch = mix(batch, probability, rng)
        return batch


USUAL = Augmentation(flip=True, rotate=True)


def parse(text: str) -> Augmentation:
    """Parse `flip,rotate,shuffle,mixup=0.3` or `none`; a probability that is left out is 0.5.

    Raises `UsageError` for other names and values.
    """
    made = Augmentation()
    for word in text.split(",") if text != "none" else []:
        name, sign, value = word.strip().partition("=")
        changes: dict[str, Any] = {name: _value(name, value if sign else None)}
        made = replace(made, **changes)
    return made


def _value(name: str, value: str | None) -> bool | float:
    known = {field.name: field.default for field in fields(Augmentation)}
    if name not in known:
        raise UsageError(f"no augmentation called '{name}'", f"there are: {', '.join(known)}, none")
    if known[name] is False:
        if value is None:
            return True
        raise UsageError(f"'{name}' takes no value", f"write just {name}, or leave it out")
    try:
        probability = 0.5 if value is None else float(value)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise UsageError(f"{name} cannot be '{value}'", f"it is a probability, as in {name}=0.3")
    return probability


def _apply_to_all(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Apply the same change to all tensors of a batch; once to one that is there twice."""
    lr = change(batch.lr)
    fed = lr if batch.fed is batch.lr else change(batch.fed)
    teacher = None if batch.teacher is None else change(batch.teacher)
    return Batch(lr, change(batch.hr), fed, teacher=teacher)


def _to_tensor(values: NDArray[np.float64], batch: Tensor) -> Tensor:
    return torch.from_numpy(values).to(batch)


def _mixup(batch: Batch, probability: float, rng: Rng) -> Batch:
    count = len(batch.lr)
    partner = torch.from_numpy(rng.permutation(count)).to(batch.lr.device)
    share = np.where(rng.random(count) < probability, rng.beta(_BETA, _BETA, count), 1.0)
    own = _to_tensor(share[:, None, None, None], batch.lr)
    return _apply_to_all(batch, lambda images: own * images + (1 - own) * images[partner])


def _cutmix(batch: Batch, probability: float, rng: Rng) -> Batch:
    partner = torch.from_numpy(rng.permutation(len(batch.lr))).to(batch.lr.device)
    mask = _draw_rectangles(batch.lr, probability, rng)
    return _apply_to_all(
        batch, lambda images: torch.where(_enlarge_mask(mask, images), images[partner], images)
    )


def _cutblur(batch: Batch, probability: float, rng: Rng) -> Batch:
    """Apply CutBlur to `fed` and `hr`, which have one size; half of the rectangles hold the sharp part."""
    rectangle = _enlarge_mask(_draw_rectangles(batch.lr, 1.0, rng), batch.fed)
    used, outside = (torch.from_numpy(rng.random(len(batch.lr)) < p) for p in (probability, 0.5))
    used, outside = (flag.to(batch.fed.device)[:, None, None, None] for flag in (used, outside))
    return replace(batch, fed=torch.where(used & (rectangle ^ outside), batch.hr, batch.fed))


def _draw_rectangles(lr: Tensor, probability: float, rng: Rng) -> Tensor:
    """Draw a mask (N, 1, h, w): true in a rectangle of each chosen image, of uniformly random area."""
    count, _, height, width = lr.shape
    length = np.sqrt(rng.random(count)) * (rng.random(count) < probability)
    spans = [_draw_span(side, length, rng) for side in (height, width)]
    rows, columns = (torch.from_numpy(span).to(lr.device) for span in spans)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _draw_span(side: int, length: NDArray[np.float64], rng: Rng) -> NDArray[np.bool_]:
    """Draw a mask (N, side) that is true over `length` of an axis, at a random place."""
    pixels = np.round(length * side)
    start = np.floor(rng.random(len(length)) * (side - pixels + 1))
    place = np.arange(side)
    return np.asarray((place >= start[:, None]) & (place < (start + pixels)[:, None]))


def _enlarge_mask(mask: Tensor, images: Tensor) -> Tensor:
    """Enlarge a mask of low-resolution pixels to the size of `images`."""
    step = images.shape[2] // mask.shape[2]
    return mask.repeat_interleave(step, 2).repeat_interleave(step, 3) if step > 1 else mask
