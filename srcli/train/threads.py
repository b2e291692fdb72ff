"""Background threads in which torch uses a single core, so that the network keeps the others."""

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
    # The setting is per thread, but new threads inherit the latest value.
    own = torch.get_num_threads()
    try:
        yield from prefetch_map(function, items, workers, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(own)
