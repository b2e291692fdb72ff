"""What runs a network: tiles in, enlarged tiles out, in order."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from srcli.errors import SrError
from srcli.imaging.pixels import Pixels
from srcli.scales import Window


class Runtime(Protocol):
    """A network ready to run. Tiles are (H, W, channels) in [0, 1] and come out `scale` times as large."""

    @property
    def scale(self) -> int:
        """How many times larger a tile comes out; 1 where the input is enlarged beforehand, or `ANY`."""

    @property
    def halo(self) -> int:
        """Input pixels around a tile that its output depends on."""

    @property
    def alignment(self) -> int:
        """Tiles have to begin at multiples of this many input pixels."""

    @property
    def uniform_tiles(self) -> bool:
        """Whether tiles of one shape are faster, so that it pays to read some pixels more."""

    @property
    def channels(self) -> int:
        """3: RGB; 1: luma."""

    @property
    def params(self) -> int:
        """How many weights the network has."""

    @property
    def description(self) -> str:
        """Device and precision, with the reason for them."""

    def largest_tile(self, tile: int) -> int:
        """The side of tiles to take where `tile` is what was asked for, or the default."""

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "Runtime":
        """The runtime for these tiles of one image: one that knows the means over all of it that enter there.

        Itself, and no tile is taken, where the network has none. Raises `OutOfMemory` as `run`.
        """

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Enlarged tiles, in order. Raises `OutOfMemory` where one does not fit."""


@runtime_checkable
class Sampler(Runtime, Protocol):
    """A network of any scale ready to run."""

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """The windows of the output that are asked for of each tile, in order. Raises as `run`."""


@runtime_checkable
class ByteRuntime(Protocol):
    """A runtime that can round to bytes where it runs, so that a fourth of what it makes is brought back."""

    @property
    def returns_uint8(self) -> bool:
        """Whether it does."""

    def as_uint8(self) -> Runtime | None:
        """One whose results are uint8, rounded as by `imaging.pixels.quantise`; None where nothing is won."""


class OutOfMemory(SrError):  # noqa: N818 (torch calls it so)
    """A tile did not fit into the device's memory."""
