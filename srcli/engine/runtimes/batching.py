"""Tiles in batches, some of them under way while others are waited for; results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from srcli.engine.runtimes.base import OutOfMemory
from srcli.imaging.pixels import Pixels
from srcli.scales import Window

# A tile, and for networks of any scale the window of the output that is asked for.
Item = tuple[Pixels] | tuple[Pixels, Window]
# Waits for the results of a batch.
PendingBatch = Callable[[], Iterable[Pixels]]
Submit = Callable[[Sequence[Item]], PendingBatch]


@dataclass
class BatchLimit:
    """How much is sent at a time: tiles of `pixels` together, or one; one of `too_large` did not fit."""

    pixels: float = 0
    too_large: float = float("inf")

    def full(self, items: Sequence[Item]) -> bool:
        """Whether one more like these would be too much."""
        return (len(items) + 1) * area(items[0]) > self.pixels

    def failed(self, items: Sequence[Item]) -> None:
        """A batch did not fit, with nothing else under way."""
        if len(items) > 1:
            self.pixels = len(items) // 2 * area(items[0])
        else:
            self.too_large = min(self.too_large, area(items[0]))


def area(item: Item) -> int:
    """Pixels of a tile."""
    height, width = item[0].shape[:2]
    return int(height * width)


def in_order(items: Iterable[Item], submit: Submit, limit: BatchLimit, ahead: int) -> Iterator[Pixels]:
    """The results of all items; `ahead` batches are under way beside the one that is waited for.

    A batch that does not fit into memory is tried again with nothing else under way, then in halves. Raises
    `OutOfMemory` where a tile does not fit alone.
    """
    under_way: deque[PendingBatch] = deque()
    for batch in _batches(items, limit):
        pending = _sent(batch, submit, limit, last=not under_way)
        if pending is None:
            while under_way:
                yield from under_way.popleft()()
            yield from _alone(batch, submit, limit)
            continue
        under_way.append(pending)
        while len(under_way) > ahead:
            yield from under_way.popleft()()
    while under_way:
        yield from under_way.popleft()()


def _batches(items: Iterable[Item], limit: BatchLimit) -> Iterator[list[Item]]:
    """Neighbours of one shape together; the next is looked at only where it might go along."""
    batch: list[Item] = []
    for item in items:
        if batch and not _alike(batch[0], item):
            yield batch
            batch = []
        batch.append(item)
        if limit.full(batch):
            yield batch
            batch = []
    if batch:
        yield batch


def _alike(one: Item, other: Item) -> bool:
    return len(one) == len(other) == 1 and one[0].shape == other[0].shape


def _sent(batch: Sequence[Item], submit: Submit, limit: BatchLimit, *, last: bool) -> PendingBatch | None:
    """None where memory has run out; the error is let go of, as it holds what was taken until then.

    `last`: nothing can be done but to take less, and for a single tile not even that, so that it is raised.
    """
    try:
        return submit(batch)
    except OutOfMemory:
        if last:
            limit.failed(batch)
        if last and len(batch) == 1:
            raise
        return None


def _alone(batch: Sequence[Item], submit: Submit, limit: BatchLimit) -> Iterator[Pixels]:
    """With nothing else under way: as much as fits of what did not."""
    while batch:
        count = max(1, min(len(batch), int(limit.pixels // area(batch[0]))))
        pending = _sent(batch[:count], submit, limit, last=True)
        if pending is not None:
            yield from pending()
            batch = batch[count:]
