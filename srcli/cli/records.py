"""The JSON records of `sr upscale --json`, per image on stdout and per event on stderr, and of jobs."""

from dataclasses import dataclass
from typing import Annotated, Literal

_INPUT = Annotated[str, "input as it was given, or found in a folder"]
_OUTPUT = Annotated[str, "output file"]
_FROM = Annotated[tuple[int, int], "width and height of the input"]
_TO = Annotated[tuple[int, int], "width and height of the output"]


@dataclass(frozen=True, kw_only=True)
class DoneImage:
    """An image that was upscaled."""

    input: _INPUT
    output: _OUTPUT
    status: Annotated[Literal["done"], "what became of the image"] = "done"
    model: Annotated[str, "model that upscaled it; the one that was chosen if that was left to sr"]
    from_: _FROM
    to: _TO
    depth: Annotated[int, "bits per sample of the output"]
    frames: Annotated[int, "frames of an animation or pages; 1 for other images"]
    seconds: Annotated[float, "time for reading, upscaling and writing"]
    notes: Annotated[tuple[str, ...] | None, "why the model was chosen, and what the output has not kept"] = (
        None
    )
    seam: Annotated[float | None, "largest difference between neighbouring tiles, in levels of 255"] = None


@dataclass(frozen=True, kw_only=True)
class SkippedImage:
    """An image for which there was nothing to do."""

    input: _INPUT
    output: _OUTPUT
    status: Annotated[Literal["skipped"], "what became of the image"] = "skipped"
    reason: Annotated[
        Literal["up_to_date", "own_output", "large_enough"],
        "it is up to date, was made by sr, or is as large as was asked for",
    ]


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """An image that could not be upscaled."""

    input: _INPUT
    output: _OUTPUT
    status: Annotated[Literal["failed"], "what became of the image"] = "failed"
    error: Annotated[str, "what went wrong"]
    hint: Annotated[str, "what to do about it; may be empty"]


@dataclass(frozen=True, kw_only=True)
class EstimatedImage:
    """The cost of an image, estimated by `--dry-run`."""

    input: _INPUT
    output: _OUTPUT
    from_: _FROM
    to: _TO
    model: Annotated[str, "model that would upscale it"]
    parameters: Annotated[int, "weights of the model; 0 without a network"]
    operations: Annotated[int, "multiplications and additions; 0 if they are not known"]
    tiles: Annotated[int, "tiles that run through the network"]
    seconds: Annotated[float, "estimated time; that of the first image includes the start"]
    bytes: Annotated[int, "estimated peak of memory"]
    streamed: Annotated[bool, "true if the output is written while it is made, and never held whole"]


@dataclass(frozen=True, kw_only=True)
class BeginEvent:
    """An image is about to be upscaled."""

    event: Annotated[Literal["begin"], "kind of event"] = "begin"
    input: _INPUT
    output: _OUTPUT


@dataclass(frozen=True, kw_only=True)
class MethodEvent:
    """A model is ready."""

    event: Annotated[Literal["method"], "kind of event"] = "method"
    model: Annotated[str, "name of the model"]
    where: Annotated[str, "device and library that run it, and why"]
    taken_for: Annotated[str, "what a weight file was recognised as; empty for known models"]


@dataclass(frozen=True, kw_only=True)
class ChosenEvent:
    """`--within` chose a model."""

    event: Annotated[Literal["chosen"], "kind of event"] = "chosen"
    model: Annotated[str, "best model that is fast enough"]
    within: Annotated[float, "seconds that were allowed"]


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """Tiles of the current image are done."""

    event: Annotated[Literal["progress"], "kind of event"] = "progress"
    done: Annotated[int, "tiles that are done"]
    total: Annotated[int, "all tiles of the image"]


@dataclass(frozen=True, kw_only=True)
class SeamEvent:
    """The tiles of an image were compared at their borders."""

    event: Annotated[Literal["seam"], "kind of event"] = "seam"
    levels: Annotated[float, "largest difference, in levels of 255"]
    overlap: Annotated[int, "overlap of the tiles in pixels"]
    again: Annotated[bool, "true if the image is repeated with a larger overlap"]


@dataclass(frozen=True, kw_only=True)
class NoteEvent:
    """A decision was made."""

    event: Annotated[Literal["note"], "kind of event"] = "note"
    text: Annotated[str, "the decision in words"]


@dataclass(frozen=True, kw_only=True)
class PreparedEvent:
    """Something that is done only once was done."""

    event: Annotated[Literal["prepared"], "kind of event"] = "prepared"
    text: Annotated[str, "what was done"]
    seconds: Annotated[float, "how long it took"]


@dataclass(frozen=True, kw_only=True)
class ListedEvent:
    """Folders are still being listed."""

    event: Annotated[Literal["listed"], "kind of event"] = "listed"
    jobs: Annotated[int, "images so far"]


@dataclass(frozen=True, kw_only=True)
class IgnoredEvent:
    """A folder has files that are not images."""

    event: Annotated[Literal["ignored"], "kind of event"] = "ignored"
    files: Annotated[int, "how many"]
    suffixes: Annotated[tuple[str, ...], "some of their suffixes"]


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """A job that is recorded on disk starts or resumes."""

    event: Annotated[Literal["job"], "kind of event"] = "job"
    job: Annotated[str, "name or file of the job"]
    jobs: Annotated[int, "images in the job"]
    untried: Annotated[int, "images that are still to be done"]
    new: Annotated[int, "images that were listed just now"]
    cut: Annotated[int, "images that an earlier run left unfinished"]


@dataclass(frozen=True, kw_only=True)
class WatchingEvent:
    """`--watch` waits for new images."""

    event: Annotated[Literal["watching"], "kind of event"] = "watching"
    folders: Annotated[tuple[str, ...], "folders that are watched"]


@dataclass(frozen=True, kw_only=True)
class TroubleEvent:
    """A folder cannot be listed; the others are."""

    event: Annotated[Literal["trouble"], "kind of event"] = "trouble"
    error: Annotated[str, "what went wrong"]
    hint: Annotated[str, "what to do about it; may be empty"]


@dataclass(frozen=True, kw_only=True)
class InterruptedEvent:
    """Ctrl-C or SIGTERM ended the batch."""

    event: Annotated[Literal["interrupted"], "kind of event"] = "interrupted"
    done: Annotated[int, "images that are finished"]
    jobs: Annotated[int, "all images"]


@dataclass(frozen=True, kw_only=True)
class EndEvent:
    """The batch is finished."""

    event: Annotated[Literal["end"], "kind of event"] = "end"
    jobs: Annotated[int, "images, skipped ones included"]
    failed: Annotated[int, "images that failed"]
    untried: Annotated[int, "images that were not reached"]
    job: Annotated[str | None, "name or file of the job, with --job"] = None
    done: Annotated[int | None, "images that are done, with --job"] = None
    unlisted: Annotated[int | None, "folders that could not be listed"] = None


@dataclass(frozen=True, kw_only=True)
class ExportedImage:
    """An image of a job, whatever has become of it so far."""

    source: Annotated[str, "input"]
    target: Annotated[str, "output file"]
    state: Annotated[Literal["pending", "running", "done", "failed"], "what became of the image so far"]
    attempts: Annotated[int, "how often it was started"]
    interruptions: Annotated[int, "how often a run was killed while it was in progress"]
    identity: Annotated[str, "size and time of the input, or its ETag, when it was listed"]
    source_sha256: Annotated[str | None, "SHA-256 of the input, if it was read"]
    error: Annotated[str | None, "what went wrong"]
    hint: Annotated[str | None, "what to do about it"]
    seconds: Annotated[float | None, "time for reading, upscaling and writing"]
    started: Annotated[str | None, "when it was started last, in UTC"]
    finished: Annotated[str | None, "when it was finished, in UTC"]


ImageRecord = DoneImage | SkippedImage | FailedImage
EventRecord = (
    BeginEvent
    | MethodEvent
    | ChosenEvent
    | ProgressEvent
    | SeamEvent
    | NoteEvent
    | PreparedEvent
    | ListedEvent
    | IgnoredEvent
    | JobEvent
    | WatchingEvent
    | TroubleEvent
    | InterruptedEvent
    | EndEvent
)
