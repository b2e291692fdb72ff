"""Tables on the processor, by NumPy: no network library is loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from srcli.engine.runtimes.base import OutOfMemory
from srcli.imaging.lut import LutUpscaler
from srcli.imaging.pixels import Pixels


@dataclass(frozen=True)
class LutRuntime:
    """Tables ready to run."""

    tables: LutUpscaler

    @property
    def scale(self) -> int:
        """See `Runtime`."""
        return self.tables.scale

    @property
    def halo(self) -> int:
        """See `Runtime`."""
        return self.tables.halo

    @property
    def alignment(self) -> int:
        """See `Runtime`."""
        return 1

    @property
    def uniform_tiles(self) -> bool:
        """See `Runtime`."""
        return False

    @property
    def channels(self) -> int:
        """See `Runtime`."""
        return 3

    @property
    def params(self) -> int:
        """See `Runtime`."""
        return self.tables.entries

    @property
    def description(self) -> str:
        """See `Runtime`."""
        return "cpu (a table)"

    def largest_tile(self, tile: int) -> int:
        """See `Runtime`."""
        return tile

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "LutRuntime":
        """See `Runtime`."""
        return self

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        for tile in tiles:
            try:
                yield self.tables(tile)
            except MemoryError as error:
                size = f"{tile.shape[1]}x{tile.shape[0]}"
                raise OutOfMemory(
                    f"a tile of {size} does not fit into memory", "close other programs"
                ) from error
