"""The tasks of a large batch as text, each of which becomes a task when it is asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from srcli.storage.locations import Location, RemotePath
from srcli.upscaling.task import UpscaleTask

# A path on this machine as text, which takes a tenth of the time and memory of a `Path`, or one in a store.
PathText = str | RemotePath


class TaskText(NamedTuple):
    """The fields of a task, see `UpscaleTask`."""

    source: PathText
    target: PathText
    is_named: bool


class TaskList(Sequence[UpscaleTask]):
    """A list of tasks that holds their names only."""

    def __init__(self, texts: Sequence[TaskText] = ()) -> None:
        self._texts = texts

    @overload
    def __getitem__(self, index: int) -> UpscaleTask: ...

    @overload
    def __getitem__(self, index: slice) -> "TaskList": ...

    def __getitem__(self, index: int | slice) -> "UpscaleTask | TaskList":
        if isinstance(index, slice):
            return TaskList(self._texts[index])
        source, target, is_named = self._texts[index]
        return UpscaleTask(parse_text(source), parse_text(target), is_named=is_named)

    def __len__(self) -> int:
        return len(self._texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def iterate_sources(self) -> Iterator[PathText]:
        """Yield the source of each task, as text if it is on this machine."""
        return (text.source for text in self._texts)


def parse_text(text: PathText) -> Location:
    """Return the location that a text stands for."""
    return Path(text) if isinstance(text, str) else text


def as_text(location: Location) -> PathText:
    """Return the text that stands for a location."""
    return location if isinstance(location, RemotePath) else str(location)
