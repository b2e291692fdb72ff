"""One image to enlarge: its location, and that of the result."""

from dataclasses import dataclass, field

from srcli.storage.locations import Location


@dataclass(frozen=True, slots=True)
class UpscaleTask:
    """An image to read, and where to write the result.

    `interrupted`: an earlier run stopped during this task, so a file at `target` may be its own. `is_named`:
    the user named this file, and not a folder or a pattern.
    """

    source: Location
    target: Location
    interrupted: bool = False
    is_named: bool = field(default=True, compare=False, kw_only=True)

    def __str__(self) -> str:
        return str(self.source)
