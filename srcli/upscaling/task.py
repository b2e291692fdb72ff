"""One image to enlarge: where it is and where the result goes."""

from dataclasses import dataclass

from srcli.storage.locations import Location


@dataclass(frozen=True)
class UpscaleTask:
    """An image to read, and where its result is written.

    `interrupted`: an earlier run was interrupted during this task, so a file at `target` may be its own.
    """

    source: Location
    target: Location
    interrupted: bool = False

    def __str__(self) -> str:
        return str(self.source)
