"""What comes next made on a thread, while what came before is worked on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; each is begun when the one before it is there. Whatever is raised comes in its turn.

    Where nobody wants more, what is in the making is waited for: a network is used by one thread at a time.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: Future[tuple[T, ...]] = thread.submit(_next, items)
        while True:
            found = coming.result()
            if not found:
                return
            coming = thread.submit(_next, items)
            yield found[0]
            del found  # else it would be held while the next is waited for


def _next(items: Iterator[T]) -> tuple[T, ...]:
    """The next one, or nothing."""
    for item in items:
        return (item,)
    return ()
