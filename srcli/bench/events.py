"""The events that `srcli.bench.run` emits."""

from collections.abc import Callable
from dataclasses import dataclass

from srcli.bench.results import Failure, ImageScore


@dataclass(frozen=True)
class Note:
    """Something to know before the work starts."""

    text: str


@dataclass(frozen=True)
class CheckStarted:
    """All images are read once before any is scored; there are `total`."""

    total: int


@dataclass(frozen=True)
class ImageChecked:
    """One image was read, or failed to be."""


@dataclass(frozen=True)
class ImageUnreadable:
    """An image cannot be read and is left out."""

    reason: str


@dataclass(frozen=True)
class Resumed:
    """An interrupted run left `scores` that are used again."""

    scores: int


@dataclass(frozen=True)
class WeightsIdentified:
    """A weight file without a header was identified as a network."""

    method: str
    network: str


@dataclass(frozen=True)
class ScoringStarted:
    """There are `total` pairs of an image and a method to score."""

    total: int


@dataclass(frozen=True)
class ImageScored:
    """One method was scored on one image, or failed on it."""

    result: ImageScore | Failure


@dataclass(frozen=True)
class CostsStarted:
    """Multiply-adds and memory are measured after the scores."""


@dataclass(frozen=True)
class Interrupted:
    """The run was interrupted, and running it again resumes it."""


@dataclass(frozen=True)
class Finished:
    """Everything is measured; `failures` are left out of the results' rows."""

    failures: tuple[Failure, ...]


Event = (
    Note
    | CheckStarted
    | ImageChecked
    | ImageUnreadable
    | Resumed
    | WeightsIdentified
    | ScoringStarted
    | ImageScored
    | CostsStarted
    | Interrupted
    | Finished
)
Emit = Callable[[Event], None]
