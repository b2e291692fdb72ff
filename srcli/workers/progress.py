"""The types of callbacks that report progress, and the callback that ignores it."""

from collections.abc import Callable

# Gets the steps done and the steps in all.
Progress = Callable[[int, int], None]
# Gets one line on a decision made on the way, for verbose output.
Log = Callable[[str], None]

# Gets what takes long and is done only once: its name at the start, and again with the seconds it took.
Wait = Callable[[str, float | None], None]


def ignore(*args: object) -> None:
    """Do nothing, whatever is reported."""
