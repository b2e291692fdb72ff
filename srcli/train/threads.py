"""Decoding and drawing on threads, each of which leaves torch's other cores to the network."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from srcli.workers.prefetch import prefetch_map

T = TypeVar("T")
R = TypeVar("R")


def prefetch_single_threaded(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None
) -> Iterator[R]:
    """Yield `function` of each item as `prefetch_map` does; in these threads torch uses one core each."""
    # A thread's setting is its own, except that threads new to torch inherit the newest one.
    own = torch.get_num_threads()
    try:
        yield from prefetch_map(function, items, workers, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(own)
