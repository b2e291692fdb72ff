"""The progress bar of a batch: which image of how many, its tiles, images per second, and the time left."""

from collections.abc import Mapping
from time import monotonic

from srcli.cli import console
from srcli.cli.rich_console import make_batch_bar

_SHARE_OF_NAME = 0.4  # of the width of the terminal


class BatchBar:
    """A bar over all images, which grows by pixels; hidden while something else is shown.

    The time that it is hidden, such as during a download, does not count for the time left.
    """

    def __init__(self) -> None:
        self._bar = make_batch_bar(console.err.rich)
        self._task = self._bar.add_task("upscaling", total=None, due=None, tiles="", rate="")
        self._weights: Mapping[str, float] = {}
        self._images: int | None = None
        self._started = self._finished = 0
        self._all, self._done = 1.0, 0.0
        self._image, self._share = 0.0, 0.0
        self._name = "upscaling"
        self._worked = 0.0
        self._shown_since: float | None = None

    def expect(self, images: int, weights: Mapping[str, float]) -> None:
        """Set how many images there are, and how much work each is, by the names of the sources."""
        self._images, self._weights = images, weights
        self._all = sum(weights.values()) + (images - len(weights)) * self._typical

    @property
    def _typical(self) -> float:
        """The work of an image of which nothing is known."""
        return sum(self._weights.values()) / len(self._weights) if self._weights else 1.0

    def show(self) -> None:
        """Show the bar."""
        if self._shown_since is None:
            self._shown_since = monotonic()
            self._bar.start()

    def hide(self) -> None:
        """Remove the bar until it is shown again."""
        if self._shown_since is not None:
            self._worked += monotonic() - self._shown_since
            self._shown_since = None
            self._bar.stop()

    def describe(self, text: str) -> None:
        """Show a text in place of the image."""
        self._bar.update(self._task, description=_shorten(text, self._room))

    def describe_image(self) -> None:
        """Show the image again."""
        self._bar.update(self._task, description=self._name)

    def start_image(self, source: str, name: str) -> None:
        """Show the name of the image that comes next, with its number."""
        self._started += 1
        self._image, self._share = self._weights.get(source, self._typical), 0.0
        number = f"{self._started}/{self._images} " if (self._images or 0) > 1 else ""
        self._name = number + _shorten(name, self._room - len(number))
        self.describe_image()
        self._update("")

    def show_tiles(self, done: int, total: int) -> None:
        """Show how many tiles of the image are done."""
        self._share = done / total
        self._update(f"{done}/{total} tiles" if total > 1 else "")

    def finish_image(self) -> None:
        """Count the image that was started last."""
        self._finished += 1
        self._done += self._image
        self._image = self._share = 0.0
        self._update("")

    def _update(self, tiles: str) -> None:
        worked = self._worked + (monotonic() - self._shown_since if self._shown_since else 0)
        if self._images is None:  # a watched folder: only the image has an end
            part = self._share
        else:
            part = min(1.0, (self._done + self._image * self._share) / (self._all or 1.0))
        due = monotonic() + worked * (1 - part) / part if part and self._images else None
        self._bar.update(
            self._task, completed=part, total=1.0, due=due, tiles=tiles, rate=self._format_rate(worked)
        )

    def _format_rate(self, worked: float) -> str:
        if not (self._finished and worked):
            return ""
        rate = self._finished / worked
        return f"{rate:.1f} images/s" if rate >= 1 else f"{1 / rate:.1f} s/image"

    @property
    def _room(self) -> int:
        """Columns for the name and the number of an image."""
        return max(16, int(_SHARE_OF_NAME * console.err.rich.width))


def _shorten(text: str, room: int) -> str:
    """Return the end of a text that is longer than `room`, which tells files apart better than the start.

    >>> _shorten("photos/holiday/b.jpg", 12)
    '…oliday/b.jpg'
    """
    return text if len(text) <= room else f"…{text[-max(room, 5) :]}"
