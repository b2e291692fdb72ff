"""Events: what happens while a batch runs."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from srcli.dataclass import dataclass
from srcli.errors import SrError
from srcli.upscaling.task import UpscaleTask

if TYPE_CHECKING:
    from srcli.batch.job_store import Counts
    from srcli.batch.summary import Summary
    from srcli.engine.seams import Seam
    from srcli.upscaling.files import Result


@dataclass(frozen=True)
class ImagesListed:
    """Images found so far; there may be many more."""

    count: int


@dataclass(frozen=True)
class FilesIgnored:
    """Files in folders that are not images: how many, and some of their suffixes."""

    count: int
    suffixes: tuple[str, ...]


@dataclass(frozen=True)
class JobOpened:
    """A job that is recorded on disk is about to start or to resume.

    `new` images were listed just now; `interrupted` ones were in progress when an earlier run was killed.
    """

    name: str
    counts: "Counts"
    new: int
    interrupted: int


@dataclass(frozen=True)
class ModelChosen:
    """The best model that finishes all images within a time in seconds."""

    name: str
    within: float


@dataclass(frozen=True)
class BatchStarted:
    """All images of a batch, if they are known in advance."""

    tasks: Sequence[UpscaleTask]


@dataclass(frozen=True)
class WorkersStarted:
    """Images are upscaled in parallel; the events of each follow when it is finished.

    `images`: how many there are, None if unknown.
    """

    images: int | None


@dataclass(frozen=True)
class ModelLoading:
    """A model is about to be loaded, and perhaps downloaded with a progress bar of its own."""


@dataclass(frozen=True)
class Preparation:
    """Something that takes long and is done only once: it begins if `seconds` is None, else it is done."""

    text: str
    seconds: float | None


@dataclass(frozen=True)
class ModelLoaded:
    """A model is ready; `device` says what runs it, `identified_as` what a weight file was identified as."""

    name: str
    device: str
    identified_as: str = ""


@dataclass(frozen=True)
class ImageStarted:
    """An image is about to be upscaled."""

    task: UpscaleTask


@dataclass(frozen=True)
class TileDone:
    """Tiles of the current image: `done` of `total`."""

    done: int
    total: int


@dataclass(frozen=True)
class SeamMeasured:
    """The largest difference between neighbouring tiles of the current image."""

    seam: "Seam"


@dataclass(frozen=True)
class Note:
    """A decision made on the way, for verbose output."""

    text: str


@dataclass(frozen=True)
class ImageDone:
    """An image was upscaled and written."""

    task: UpscaleTask
    result: "Result"


class SkipReason(StrEnum):
    """Why an image was not upscaled."""

    UP_TO_DATE = "is up to date"
    OWN_OUTPUT = "was made by sr; --again upscales it, too"
    LARGE_ENOUGH = "is large enough"


@dataclass(frozen=True)
class ImageSkipped:
    """There was nothing to do for an image."""

    task: UpscaleTask
    reason: SkipReason = SkipReason.UP_TO_DATE


@dataclass(frozen=True)
class ImageFailed:
    """An image could not be upscaled."""

    task: UpscaleTask
    error: SrError


@dataclass(frozen=True)
class FoldersWatched:
    """New images in these folders will be upscaled."""

    folders: tuple[Path, ...]


@dataclass(frozen=True)
class FoldersIdle:
    """All images in the watched folders are done."""


@dataclass(frozen=True)
class FolderFailed:
    """A folder cannot be listed; the images in all others are upscaled."""

    error: SrError


@dataclass(frozen=True)
class BatchInterrupted:
    """Ctrl-C or SIGTERM ended the batch.

    `done` of `total` images are finished; `is_job` if they are recorded in a named job.
    """

    done: int
    total: int
    is_job: bool = False


@dataclass(frozen=True)
class BatchDone:
    """The end of a batch."""

    summary: "Summary"


@dataclass(frozen=True)
class JobDone:
    """The end of a batch that is kept in a job store, with the counts of earlier runs too."""

    name: str | None
    counts: "Counts"


ImageFinished: TypeAlias = ImageDone | ImageSkipped | ImageFailed
Event: TypeAlias = (
    ImagesListed
    | FilesIgnored
    | JobOpened
    | ModelChosen
    | BatchStarted
    | WorkersStarted
    | ModelLoading
    | Preparation
    | ModelLoaded
    | ImageStarted
    | TileDone
    | SeamMeasured
    | Note
    | ImageFinished
    | FoldersWatched
    | FoldersIdle
    | FolderFailed
    | BatchInterrupted
    | BatchDone
    | JobDone
)
Emit = Callable[[Event], None]
