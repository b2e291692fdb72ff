"""Tiles in batches, several of them in progress at a time; results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from srcli.engine.runtimes.base import OutOfMemory
from srcli.imaging.pixels import Pixels
from srcli.scales import Window

# A tile and, for networks of any scale, the requested window of the output.
Item = tuple[Pixels] | tuple[Pixels, Window]
# Waits for the results of a batch.
PendingBatch = Callable[[], Iterable[Pixels]]
# Starts a batch. Raises `OutOfMemory` if it does not fit.
Submit = Callable[[Sequence[Item]], PendingBatch]


@dataclass
class BatchLimit:
    """The batch that fits: tiles of `pixels` in all, or one tile; one of `too_large` pixels did not fit."""

    pixels: float = 0
    too_large: float = float("inf")

    def is_reached(self, items: Sequence[Item]) -> bool:
        """Return whether one more item like these would be too much."""
        return (len(items) + 1) * count_pixels(items[0]) > self.pixels

    def lower(self, items: Sequence[Item]) -> None:
        """Note that a batch did not fit although nothing else was in progress."""
        if len(items) > 1:
            self.pixels = len(items) // 2 * count_pixels(items[0])
        else:
            self.too_large = min(self.too_large, count_pixels(items[0]))


def count_pixels(item: Item) -> int:
    """Return the number of pixels of an item's tile."""
    height, width = item[0].shape[:2]
    return int(height * width)


def run_batches(items: Iterable[Item], submit: Submit, limit: BatchLimit, prefetch: int) -> Iterator[Pixels]:
    """Yield the results of all items, with `prefetch` batches in progress besides the one waited for.

    A batch that does not fit into memory is tried again with nothing else in progress, then in halves. Raises
    `OutOfMemory` if a single tile does not fit.
    """
    in_progress: deque[PendingBatch] = deque()
    for batch in _group(items, limit):
        pending = _try_submit(batch, submit, limit, alone=not in_progress)
        if pending is None:
            while in_progress:
                yield from in_progress.popleft()()
            yield from _run_alone(batch, submit, limit)
            continue
        in_progress.append(pending)
        while len(in_progress) > prefetch:
            yield from in_progress.popleft()()
    while in_progress:
        yield from in_progress.popleft()()


def _group(items: Iterable[Item], limit: BatchLimit) -> Iterator[list[Item]]:
    """Yield neighbours of one shape together; no item is taken before a batch might have room for it."""
    batch: list[Item] = []
    for item in items:
        if batch and not _can_share_batch(batch[0], item):
            yield batch
            batch = []
        batch.append(item)
        if limit.is_reached(batch):
            yield batch
            batch = []
    if batch:
        yield batch


def _can_share_batch(one: Item, other: Item) -> bool:
    return len(one) == len(other) == 1 and one[0].shape == other[0].shape


def _try_submit(
    batch: Sequence[Item], submit: Submit, limit: BatchLimit, *, alone: bool
) -> PendingBatch | None:
    """Start a batch; return None if memory has run out.

    The error is not kept, as it would hold what was allocated until then. `alone`: nothing else is in
    progress, so the batch has to become smaller; for a single tile the error is raised.
    """
    try:
        return submit(batch)
    except OutOfMemory:
        if alone:
            limit.lower(batch)
        if alone and len(batch) == 1:
            raise
        return None


def _run_alone(batch: Sequence[Item], submit: Submit, limit: BatchLimit) -> Iterator[Pixels]:
    """Yield the results of a batch that did not fit, as many tiles at a time as do."""
    while batch:
        count = max(1, min(len(batch), int(limit.pixels // count_pixels(batch[0]))))
        pending = _try_submit(batch[:count], submit, limit, alone=True)
        if pending is not None:
            yield from pending()
            batch = batch[count:]
