"""One image to enlarge: its location, and that of the result."""

from dataclasses import dataclass

from srcli.storage.locations import Location


@dataclass(frozen=True)
class UpscaleTask:
    """An image to read, and where to write the result.

    `interrupted`: an earlier run stopped during this task, so a file at `target` may be its own.
    """

    source: Location
    target: Location
    interrupted: bool = False

    def __str__(self) -> str:
        return str(self.source)
