"""Look-up tables on the CPU, by NumPy: no network library is loaded."""

from collections.abc import Iterable, Iterator

from srcli.dataclass import dataclass
from srcli.engine.runtimes.base import NetworkInfo, OutOfMemory, Runtime
from srcli.imaging.lut import LutUpscaler
from srcli.imaging.pixels import Pixels


@dataclass(frozen=True)
class LutRuntime(Runtime):
    """Look-up tables ready to run."""

    tables: LutUpscaler

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            try:
                yield self.tables(tile)
            except MemoryError as error:
                raise OutOfMemory.of_tile(tile) from error


def prepare_tables(tables: LutUpscaler) -> LutRuntime:
    """Return a runtime for the tables."""
    return LutRuntime(NetworkInfo(tables.scale, tables.halo, params=tables.entries), "cpu (a table)", tables)
