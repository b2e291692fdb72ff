"""The types of callbacks that report progress, and the callback that ignores it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

# Gets the steps done and the steps in all.
Progress = Callable[[int, int], None]
# Gets one line on a decision made on the way, for verbose output.
Log = Callable[[str], None]

# Gets what takes long and is done only once: its name at the start, and again with the seconds it took.
Wait = Callable[[str, float | None], None]


@contextmanager
def announce(wait: Wait, what: str) -> Iterator[None]:
    """Tell `wait` before the block runs, and afterwards how many seconds it took."""
    start = perf_counter()
    wait(what, None)
    yield
    wait(what, perf_counter() - start)


def ignore(*args: object) -> None:
    """Do nothing, whatever is reported."""
