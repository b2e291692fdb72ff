"""Training images, decoded once into memory as 8-bit samples, and random batches cut from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.datasets import images_in
from srcli.errors import DatasetError, ImageError
from srcli.imaging.color import luma
from srcli.imaging.degrade import bicubic_lr
from srcli.imaging.image import read
from srcli.imaging.pixels import Pixels, crop_to_multiple, to_uint8
from srcli.imaging.resize import resize_8bit

Crop = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One image twice: `lr` (h, w, 3) as the network is fed, `hr` `step` times as large."""

    lr: Crop
    hr: Crop


@dataclass(frozen=True)
class Store:
    """All pairs; `step` is the ratio of their sizes (1 where the network's input is enlarged first).

    `left_out` says which files of the folder are not among them, and why.
    """

    pairs: tuple[Pair, ...]
    step: int
    left_out: tuple[str, ...] = ()

    def areas(self) -> NDArray[np.float64]:
        """The share of each image in all low-resolution pixels: how often it is drawn."""
        sizes = np.array([pair.lr.shape[0] * pair.lr.shape[1] for pair in self.pairs], np.float64)
        return np.asarray(sizes / sizes.sum())


def load(
    path: Path,
    scale: int,
    patch: int,
    pre_upsampled: bool,
    tick: Callable[[int, int], None],
    zooms: tuple[float, ...] = (1.0,),
) -> Store:
    """Decode and degrade every image below `path`, at every size of `zooms`.

    Damaged and too small ones are left out. `patch` is in pixels of `Pair.lr`.
    Raises `DatasetError` where no image is left.
    """
    files = images_in(path, recursive=True)
    step = 1 if pre_upsampled else scale
    pairs: list[Pair] = []
    left_out: list[str] = []
    for done, file in enumerate(files, 1):
        try:
            pixels = read(file).pixels
            pairs += [
                _pair(file, _zoomed(pixels, zoom), scale, patch * step, pre_upsampled) for zoom in zooms
            ]
        except ImageError as error:
            left_out.append(error.message)
        tick(done, len(files))
    if not pairs:
        raise DatasetError(f"no usable image in {path}", f"it needs images of {patch * step} px or more")
    return Store(tuple(pairs), step, tuple(left_out))


def _zoomed(pixels: Pixels, zoom: float) -> Pixels:
    if zoom == 1:
        return pixels
    height, width = (max(1, round(side * zoom)) for side in pixels.shape[:2])
    return resize_8bit(pixels, height, width)


def _pair(file: Path, pixels: Pixels, scale: int, least: int, pre_upsampled: bool) -> Pair:
    hr = crop_to_multiple(pixels, scale)
    if min(hr.shape[:2]) < least:
        raise ImageError(f"{file} is smaller than a patch of {least}x{least}")
    lr = bicubic_lr(hr, scale)
    return Pair(to_uint8(_enlarged(lr, hr) if pre_upsampled else lr), to_uint8(hr))


def _enlarged(lr: Pixels, hr: Pixels) -> Pixels:
    return resize_8bit(lr, hr.shape[0], hr.shape[1])


def draw(
    store: Store, patch: int, batch: int, channels: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Low- and high-resolution batches (N, C, h, w) in [0, 1], cropped, flipped and turned at random.

    `patch` is in pixels of `Pair.lr`; luma is computed on the patches where `channels` is 1.
    """
    chosen = rng.choice(len(store.pairs), batch, p=store.areas())
    crops = [_crop(store.pairs[i], patch, store.step, rng) for i in chosen]
    return _stack([lr for lr, _ in crops], channels), _stack([hr for _, hr in crops], channels)


def _crop(pair: Pair, patch: int, step: int, rng: np.random.Generator) -> tuple[Crop, Crop]:
    y = int(rng.integers(pair.lr.shape[0] - patch + 1))
    x = int(rng.integers(pair.lr.shape[1] - patch + 1))
    lr = pair.lr[y : y + patch, x : x + patch]
    hr = pair.hr[y * step : (y + patch) * step, x * step : (x + patch) * step]
    turn, flip = int(rng.integers(4)), bool(rng.integers(2))
    return _turned(lr, turn, flip), _turned(hr, turn, flip)


def _turned(samples: Crop, turn: int, flip: bool) -> Crop:
    turned = np.rot90(samples, turn)
    return turned[:, ::-1] if flip else turned


def _stack(crops: list[Crop], channels: int) -> Tensor:
    values = np.stack(crops).astype(np.float32) / np.float32(255)
    if channels == 1:
        values = luma(values)[..., None]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))
