"""Several devices as one runtime: each asks for tiles as it gets on, and results come back in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from itertools import tee
from operator import is_not
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self, TypeVar

from srcli.dataclass import dataclass
from srcli.engine.runtimes.base import Runtime, Sampler
from srcli.imaging.pixels import Pixels
from srcli.scales import Window

# Tiles in progress per device, with those counted that wait for an earlier one to come back.
_IN_PROGRESS = 16
_END = object()
X = TypeVar("X")
Run = Callable[[Iterable[X]], Iterator[Pixels]]


@dataclass(frozen=True)
class MultiDeviceRuntime(Runtime):
    """The same network on each of several devices."""

    runtimes: tuple[Runtime, ...]

    @classmethod
    def join(cls, runtimes: tuple[Runtime, ...]) -> Self:
        """Return the runtimes as one."""
        return cls(
            runtimes[0].info,
            " and ".join(dict.fromkeys(runtime.description for runtime in runtimes)),
            runtimes,
            uniform_tiles=runtimes[0].uniform_tiles,
            returns_uint8=all(runtime.returns_uint8 for runtime in runtimes),
        )

    def largest_tile(self, tile: int) -> int:
        """Return the side of the tiles to use, one that fits every device."""
        return min(runtime.largest_tile(tile) for runtime in self.runtimes)

    def as_uint8(self) -> Self | None:
        """Return a runtime that rounds to bytes; None unless all devices can."""
        rounding = tuple(filter(None, (runtime.as_uint8() for runtime in self.runtimes)))
        return self.join(rounding) if len(rounding) == len(self.runtimes) else None

    def with_global_stats(self, tiles: Iterable[Pixels]) -> Self:
        """Return the runtime for one image: one device looks at the tiles, and all get its means.

        If devices have runtimes of different kinds, such as torch and ncnn, each looks at the tiles.
        """
        first, *others = self.runtimes
        if any(type(other) is not type(first) for other in others):
            copies = tee(tiles, len(self.runtimes))  # they hold no tile unless one is taken
            each = zip(self.runtimes, copies, strict=True)
            own = tuple(runtime.with_global_stats(copy) for runtime, copy in each)
            return self.join(own) if any(map(is_not, own, self.runtimes)) else self
        found: Any = first.with_global_stats(tiles)
        if found is first:
            return self
        known = {"global_stats": found.global_stats}
        informed = (replace(other, **known) for other in others)
        return self.join((found, *informed))

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        return share_items(tiles, [runtime.run for runtime in self.runtimes])

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """Yield the requested window of each tile's output, in order. Raises like `run`."""
        return share_items(tiles, [each.sample for each in self.runtimes if isinstance(each, Sampler)])


def share_items(items: Iterable[X], runs: list[Run[X]]) -> Iterator[Pixels]:
    """Yield the results of items in their order; each run is on a thread and asks for items as it gets on.

    Items are taken on the caller's thread. Raises what a run raises.
    """
    scheduler = _Scheduler(iter(items), [_Worker(run) for run in runs])
    threads = [Thread(target=scheduler.work, args=(each,), daemon=True) for each in scheduler.workers]
    for thread in threads:
        thread.start()
    try:
        yield from scheduler.results()
    finally:
        for worker in scheduler.workers:
            worker.inbox.put(_END)
        for thread in threads:
            thread.join()


@dataclass(eq=False)
class _Worker:
    """A run on its thread: its items, and the numbers of those it has not answered yet."""

    run: Run[Any]
    inbox: "SimpleQueue[Any]" = field(default_factory=SimpleQueue)
    numbers: deque[int] = field(default_factory=deque)


@dataclass
class _Scheduler:
    """Gives items to the workers that ask, and puts results in order.

    `messages`: from a worker, None to ask for an item, a result, its end, or an error; `started` and
    `returned` count items.
    """

    items: Iterator[Any]
    workers: list[_Worker]
    messages: "SimpleQueue[tuple[_Worker, Any]]" = field(default_factory=SimpleQueue)
    asking: deque[_Worker] = field(default_factory=deque)
    done: dict[int, Pixels] = field(default_factory=dict)
    started: int = 0
    returned: int = 0

    def work(self, worker: _Worker) -> None:
        """Send each result of a worker, then its end or its error; called on the worker's thread."""
        try:
            for result in worker.run(self._receive(worker)):
                self.messages.put((worker, result))
            self.messages.put((worker, _END))
        except BaseException as error:  # raised again on the caller's thread
            self.messages.put((worker, error))

    def _receive(self, worker: _Worker) -> Iterator[Any]:
        while True:
            self.messages.put((worker, None))
            item = worker.inbox.get()
            if item is _END:
                return
            yield item

    def results(self) -> Iterator[Pixels]:
        """Yield results in order until all workers have ended; called on the caller's thread."""
        running = len(self.workers)
        while running:
            worker, message = self.messages.get()
            if isinstance(message, BaseException):
                raise message
            if message is None:
                self.asking.append(worker)
            elif message is _END:
                running -= 1
            else:
                self.done[worker.numbers.popleft()] = message
            while self.returned in self.done:
                yield self.done.pop(self.returned)
                self.returned += 1
            self._hand_out(running)

    def _hand_out(self, running: int) -> None:
        """Give items to those who ask, up to a limit; if all wait for more, they need more to go on."""
        while self.asking:
            full = self.started - self.returned >= _IN_PROGRESS * len(self.workers)
            if full and len(self.asking) < running:
                return
            worker, item = self.asking.popleft(), next(self.items, _END)
            if item is not _END:
                worker.numbers.append(self.started)
                self.started += 1
            worker.inbox.put(item)
