"""A progress bar for one stage of the work after the other."""

from types import TracebackType
from typing import Any, Self

from rich.progress import Progress, ProgressColumn, TaskID

from srcli.cli import console


class StageBar:
    """A progress bar, at most one at a time; as a context, it leaves no bar behind when the work fails.

    A bar closes when its stage is complete: downloads, which may follow, have bars of their own. `columns`
    are shown after the usual ones and take their values from the fields given to `open` and `update`.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        self._columns = columns
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_hidden(self) -> bool:
        """True if nobody sees the bar, for example without a terminal."""
        return self._bar is None or self._bar.disable

    def open(self, description: str, total: int | None, **values: Any) -> None:
        """Start the bar of a stage; a `total` of None is unknown."""
        self.close()
        self._bar = console.make_progress_bar(*self._columns)
        self._bar.start()
        self._task = self._bar.add_task(description, total=total, **values)

    def update(self, description: str, done: int, total: int, **values: Any) -> None:
        """Show how many steps of a stage are done; the first call starts its bar."""
        if self._bar is None:
            self.open(description, total, **values)
        assert self._bar
        self._bar.update(self._task, completed=done, total=total, **values)

    def advance(self, description: str | None = None) -> None:
        """Count one step, and change the description if one is given."""
        if self._bar:
            self._bar.update(self._task, advance=1, description=description)
            if self._bar.finished:
                self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None
