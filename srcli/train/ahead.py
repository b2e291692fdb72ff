"""Work done by threads before it is asked for."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """`function` of each item, in order, worked out by threads a few items before they are taken.

    `workers`: one for each core, up to 8, by default. An error comes when its item is taken. In these
    threads torch uses one core each: the others are for the network.
    """
    count = workers or min(8, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    # What is set in a thread is the thread's own, except that threads new to torch take over the newest.
    own = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(own)
