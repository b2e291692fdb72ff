"""Many images as one array of pixels, in a file or on a device, and square crops of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.uint8]
Numbers = NDArray[np.int64]
# Called with the amount done and the total.
# Takes a stage, such as "decoding", and how many images of all are done.
Tick = Callable[[str, int, int], None]

# Pixels are copied as units of three bytes: that is twice as fast for rotated crops.
_PIXEL = np.dtype("V3")


@dataclass(frozen=True)
class Layout:
    """The positions of images stored one after the other: sides, and index of the first pixel of each."""

    heights: Numbers
    widths: Numbers
    first: Numbers

    @property
    def pixels(self) -> int:
        """The number of pixels up to the end of the last image."""
        return int((self.first + self.heights * self.widths).max(initial=0))

    def fits(self, path: Path) -> bool:
        """Return whether a file is exactly as long as the images."""
        return path.is_file() and path.stat().st_size == self.pixels * 3

    def times(self, step: int) -> "Layout":
        """Return the layout of the same images `step` times as large."""
        return layout(self.heights * step, self.widths * step)

    def only(self, kept: NDArray[np.bool_]) -> "Layout":
        """Return the layout of some of the images."""
        return Layout(self.heights[kept], self.widths[kept], self.first[kept])


def layout(heights: Numbers, widths: Numbers) -> Layout:
    """Lay out images of these sides one after the other, without gaps."""
    areas = heights * widths
    return Layout(heights, widths, np.cumsum(areas) - areas)


@dataclass(frozen=True)
class Boxes:
    """Crops: number of the image, top and left, orientation 0 to 7 (quarter turns, from 4 on mirrored)."""

    image: Numbers
    top: Numbers
    left: Numbers
    turn: Numbers

    def only(self, chosen: slice) -> "Boxes":
        """Return some of the crops."""
        return Boxes(self.image[chosen], self.top[chosen], self.left[chosen], self.turn[chosen])

    def times(self, step: int) -> "Boxes":
        """Return the same crops in an image `step` times as large."""
        return Boxes(self.image, self.top * step, self.left * step, self.turn)


class Plane(Protocol):
    """Images that crops can be cut from."""

    @property
    def bytes(self) -> int:
        """Their size on disk or in memory."""
        ...

    def only(self, kept: NDArray[np.bool_]) -> "Plane":
        """Return some of the images."""
        ...

    def cut(self, boxes: Boxes, side: int) -> Tensor:
        """Cut crops (N, side, side, 3), uint8."""
        ...

    def to(self, device: torch.device) -> "Plane":
        """Copy the images to the memory of `device`."""
        ...


@dataclass(frozen=True)
class MappedPlane:
    """Images in a file that is mapped into memory: (pixels, 3) samples.

    Another process gets the `path`, and maps the file too.
    """

    places: Layout
    samples: Samples
    path: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None:
            return MappedPlane, (self.places, self.samples)
        return map_file, (self.path, self.places)

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self.samples.nbytes

    def image(self, number: int) -> Samples:
        """Return one image (H, W, 3), not copied."""
        height, width = int(self.places.heights[number]), int(self.places.widths[number])
        first = int(self.places.first[number])
        return self.samples[first : first + height * width].reshape(height, width, 3)

    def only(self, kept: NDArray[np.bool_]) -> "MappedPlane":
        """Return some of the images."""
        return replace(self, places=self.places.only(kept))

    def cut(self, boxes: Boxes, side: int) -> Tensor:
        """Cut crops (N, side, side, 3), uint8, in main memory."""
        crops = np.empty((len(boxes.image), side, side), _PIXEL)
        columns = (boxes.image, boxes.top, boxes.left, boxes.turn)
        for crop, image, top, left, turn in zip(crops, *(column.tolist() for column in columns), strict=True):
            whole = self.image(image).view(_PIXEL)[..., 0]
            crop[...] = turn_crop(whole[top : top + side, left : left + side], turn)
        return torch.from_numpy(crops.view(np.uint8).reshape(*crops.shape, 3))

    def to(self, device: torch.device) -> "DevicePlane":
        """Copy the images to `device` as one tensor."""
        return DevicePlane(self.places, torch.from_numpy(self.samples).to(device, copy=True))


@dataclass(frozen=True)
class DevicePlane:
    """Images as one tensor (pixels, 3), cut without a loop."""

    places: Layout
    samples: Tensor

    @property
    def bytes(self) -> int:
        """The size in the device's memory."""
        return self.samples.nbytes

    def only(self, kept: NDArray[np.bool_]) -> "DevicePlane":
        """Return some of the images."""
        return replace(self, places=self.places.only(kept))

    def cut(self, boxes: Boxes, side: int) -> Tensor:
        """Cut crops (N, side, side, 3), uint8, on the device of the samples."""
        device, widths = self.samples.device, self.places.widths[boxes.image]
        corners = self.places.first[boxes.image] + boxes.top * widths + boxes.left
        # One small copy to the device, not three.
        corner, width, turn = send(np.stack([corners, widths, boxes.turn]), device)[..., None]
        inside = _orientations(side, device)[turn[:, 0]]
        index = corner + inside // side * width + inside % side
        return self.samples.index_select(0, index.flatten()).view(-1, side, side, 3)

    def to(self, device: torch.device) -> "DevicePlane":
        """Copy the images to another device."""
        return DevicePlane(self.places, self.samples.to(device))


def send(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to `device`; from a buffer, so that the processor does not wait for a GPU."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def turn_crop(crop: NDArray[Any], turn: int) -> NDArray[Any]:
    """Turn a square to one of its eight orientations, without a copy."""
    quarter = np.rot90(crop, turn % 4)
    return quarter[:, ::-1] if turn >= 4 else quarter


@lru_cache(maxsize=16)
def _orientations(side: int, device: torch.device) -> Tensor:
    """List, for each orientation, the pixels of a square in order: (8, side * side), row by row."""
    square = np.arange(side * side).reshape(side, side)
    return torch.from_numpy(np.stack([turn_crop(square, turn).ravel() for turn in range(8)])).to(device)


def map_file(path: Path, places: Layout) -> MappedPlane:
    """Map the images of a file; nothing is read before it is cut."""
    if not places.pixels:
        return MappedPlane(places, np.empty((0, 3), np.uint8))
    # "c", copy on write: torch warns of arrays that can't be written, and the file stays as it is.
    return MappedPlane(places, np.asarray(np.memmap(path, np.uint8, "c", shape=(places.pixels, 3))), path)
