"""Prefetching: threads that compute items shortly before they are needed."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")


def prefetch_map(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int | None = None,
    initializer: Callable[[], object] | None = None,
) -> Iterator[R]:
    """Yield `function` of each item in order, computed by threads up to `workers` items ahead.

    `workers` is one per core and at most 8 by default; each thread calls `initializer` first. An error is
    raised when its item is taken. Closing the iterator waits for the work in progress.
    """
    from concurrent.futures import ThreadPoolExecutor

    count = workers or min(8, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count, initializer=initializer) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, taking the next one on a thread while the caller works on the last."""
    taken = prefetch_map(lambda _: tuple(itertools.islice(items, 1)), itertools.repeat(None), workers=1)
    for found in taken:
        if not found:
            return
        yield found[0]
        del found  # would keep the item alive while waiting for the next one
