"""The events that `srcli.report.compare` emits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from srcli.bench.events import WeightsIdentified
from srcli.report.comparisons import MethodResult
from srcli.report.pictures import LabelledPanels


@dataclass(frozen=True)
class ImageStarted:
    """The methods run on image `number` of `total`, counted from 1."""

    name: str
    number: int
    total: int
    methods: int


@dataclass(frozen=True)
class MethodFinished:
    """One method has upscaled the image."""


@dataclass(frozen=True)
class ImageCompared:
    """All methods have upscaled the image; `total` is the number of images."""

    name: str
    total: int
    results: tuple[MethodResult, ...]


@dataclass(frozen=True)
class AllCompared:
    """All images are done, and nothing is written yet."""

    images: tuple[LabelledPanels, ...]


@dataclass(frozen=True)
class FileWritten:
    """A sheet or a page is complete."""

    path: Path


__all__ = [
    "AllCompared",
    "Emit",
    "Event",
    "FileWritten",
    "ImageCompared",
    "ImageStarted",
    "MethodFinished",
    "WeightsIdentified",
]

Event = WeightsIdentified | ImageStarted | MethodFinished | ImageCompared | AllCompared | FileWritten
Emit = Callable[[Event], None]
