"""Several runtimes as one: tiles are dealt out as each device asks for more, and come back in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from srcli.engine.runtimes.base import ByteRuntime, Runtime, Sampler
from srcli.imaging.pixels import Pixels
from srcli.scales import Window

# So many tiles for each device are on their way at a time, those counted that wait for one before them.
_AHEAD = 16
_END = object()
X = TypeVar("X")
Run = Callable[[Iterable[X]], Iterator[Pixels]]


@dataclass(frozen=True)
class MultiDeviceRuntime:
    """The same network on each of several devices."""

    runtimes: tuple[Runtime, ...]

    @property
    def scale(self) -> int:
        """See `Runtime`."""
        return self.runtimes[0].scale

    @property
    def halo(self) -> int:
        """See `Runtime`."""
        return self.runtimes[0].halo

    @property
    def alignment(self) -> int:
        """See `Runtime`."""
        return self.runtimes[0].alignment

    @property
    def channels(self) -> int:
        """See `Runtime`."""
        return self.runtimes[0].channels

    @property
    def params(self) -> int:
        """See `Runtime`."""
        return self.runtimes[0].params

    @property
    def description(self) -> str:
        """See `Runtime`."""
        return " and ".join(dict.fromkeys(each.description for each in self.runtimes))

    @property
    def uniform_tiles(self) -> bool:
        """See `Runtime`."""
        return self.runtimes[0].uniform_tiles

    def largest_tile(self, tile: int) -> int:
        """See `Runtime`. What fits each device."""
        return min(each.largest_tile(tile) for each in self.runtimes)

    @property
    def returns_uint8(self) -> bool:
        """See `ByteRuntime`."""
        return all(isinstance(each, ByteRuntime) and each.returns_uint8 for each in self.runtimes)

    def as_uint8(self) -> "MultiDeviceRuntime | None":
        """See `ByteRuntime`. All of them, or none."""
        made = [each.as_uint8() if isinstance(each, ByteRuntime) else None for each in self.runtimes]
        rounding = tuple(each for each in made if each)
        return MultiDeviceRuntime(rounding) if len(rounding) == len(made) else None

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "MultiDeviceRuntime":
        """See `Runtime`. One device looks at the tiles, and all know what it found."""
        first, *others = self.runtimes
        found: Any = first.with_global_stats(tiles)
        if found is first:
            return self
        told = (replace(other, global_stats=found.global_stats) for other in others)  # type: ignore[type-var]
        return MultiDeviceRuntime((found, *told))

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        return dealt(tiles, [each.run for each in self.runtimes])

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """See `Sampler`."""
        return dealt(tiles, [each.sample for each in self.runtimes if isinstance(each, Sampler)])


def dealt(items: Iterable[X], runs: list[Run[X]]) -> Iterator[Pixels]:
    """What the runs, each on a thread, make of the items, in the order of these.

    Items are taken on the caller's thread, as one of the runs asks for the next. Raises what a run raises.
    """
    deal = _Deal(iter(items), [_Lane(run) for run in runs])
    threads = [Thread(target=deal.work, args=(lane,), daemon=True) for lane in deal.lanes]
    for thread in threads:
        thread.start()
    try:
        yield from deal.results()
    finally:
        for lane in deal.lanes:
            lane.given.put(_END)
        for thread in threads:
            thread.join()


@dataclass(eq=False)
class _Lane:
    """A run on its thread: what it was given, and the numbers of what it has not answered yet."""

    run: Run[Any]
    given: "SimpleQueue[Any]" = field(default_factory=SimpleQueue)
    numbers: deque[int] = field(default_factory=deque)


@dataclass
class _Deal:
    """Who asks, what is made already, and how many were given out and came back in order."""

    items: Iterator[Any]
    lanes: list[_Lane]
    said: "SimpleQueue[tuple[_Lane, Any]]" = field(default_factory=SimpleQueue)
    asking: deque[_Lane] = field(default_factory=deque)
    made: dict[int, Pixels] = field(default_factory=dict)
    given: int = 0
    back: int = 0

    def work(self, lane: _Lane) -> None:
        """On the lane's thread: say each result, then that it has ended, or why."""
        try:
            for result in lane.run(self._asked(lane)):
                self.said.put((lane, result))
            self.said.put((lane, _END))
        except BaseException as error:  # on its way to the thread that waits
            self.said.put((lane, error))

    def _asked(self, lane: _Lane) -> Iterator[Any]:
        while True:
            self.said.put((lane, None))
            item = lane.given.get()
            if item is _END:
                return
            yield item

    def results(self) -> Iterator[Pixels]:
        """On the caller's thread, until all lanes have ended."""
        running = len(self.lanes)
        while running:
            lane, said = self.said.get()
            if isinstance(said, BaseException):
                raise said
            if said is None:
                self.asking.append(lane)
            elif said is _END:
                running -= 1
            else:
                self.made[lane.numbers.popleft()] = said
            while self.back in self.made:
                yield self.made.pop(self.back)
                self.back += 1
            self._give(running)

    def _give(self, running: int) -> None:
        """To those who ask: not too much ahead, but where all wait for more they have to have it."""
        while self.asking:
            if self.given - self.back >= _AHEAD * len(self.lanes) and len(self.asking) < running:
                return
            lane, item = self.asking.popleft(), next(self.items, _END)
            if item is not _END:
                lane.numbers.append(self.given)
                self.given += 1
            lane.given.put(item)
