"""Tile planning: pure integers in, integers out, so that tiling changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from srcli.scales import Axis, count_outputs_before

# In input pixels. Larger windows are no faster on a CPU, smaller ones pay for their halo.
DEFAULT_TILE = 512
SMALLEST_TILE = 32
# In bytes, of a row of tiles as they come out; of those of a GPU, which pay more for their halo than a
# processor, and which machines with more memory have.
LARGEST_BAND, GPU_BAND = 2**26, 2**28


@dataclass(frozen=True)
class Span:
    """One axis of a tile: `start:stop` is read, of which `keep_start:keep_stop` is kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    def source(self) -> slice:
        """What to read of the input."""
        return slice(self.start, self.stop)

    def inner(self, scale: int) -> slice:
        """What to keep of the tile's output."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)

    def axis(self, inputs: int, outputs: int) -> Axis:
        """The outputs of the kept part, those whose centres are in it, where `inputs` become `outputs`."""
        first, last = (
            count_outputs_before(cut, inputs, outputs) for cut in (self.keep_start, self.keep_stop)
        )
        return Axis(inputs, outputs, self.start, first, last)


def split_axis(length: int, tile: int, halo: int, alignment: int = 1, begin: int = 0) -> list[Span]:
    """An axis of `length` cut into kept parts of at most `tile`, each read with `halo` more on both sides.

    The kept parts partition the axis from `begin` on and differ by at most one in length. What is read begins
    and ends at multiples of `alignment`, or at the ends of the axis.
    """
    count = -(-(length - begin) // tile)
    cuts = [begin + (length - begin) * k // count for k in range(count + 1)]
    return [
        Span(
            max(0, (a - halo) // alignment * alignment),
            min(length, -(-(b + halo) // alignment) * alignment),
            a,
            b,
        )
        for a, b in pairwise(cuts)
    ]


def equalise_spans(cut: list[Span], length: int, alignment: int = 1) -> list[Span]:
    """The spans of an axis of `length`, all read as far as the one that is read furthest.

    So all tiles have one shape, where `length` is a multiple of `alignment`; else the last may be larger.
    """
    longest = max(span.stop - span.start for span in cut)
    side = min(length, -(-longest // alignment) * alignment)
    out = []
    for span in cut:
        start = min(span.start, length - side) // alignment * alignment
        out.append(replace(span, start=start, stop=max(span.stop, min(length, start + side))))
    return out


def tile_shape(tile: int, width: int, pixel_bytes: int, band: int = LARGEST_BAND) -> tuple[int, int]:
    """Height and width of tiles of `tile` squared pixels or fewer for an image so wide.

    They are less high than wide where a row of them would come out larger than `band`: each of their pixels
    comes out as `pixel_bytes`.
    """
    high = min(tile, max(SMALLEST_TILE, band // (width * pixel_bytes)))
    return high, tile * tile // high


def plan_tiles(
    height: int,
    width: int,
    tile: tuple[int, int],
    halo: int,
    alignment: int = 1,
    begin: int = 0,
    *,
    uniform_tiles: bool = False,
) -> Iterator[tuple[Span, Span]]:
    """Vertical and horizontal spans of every tile from the row `begin` on, row by row.

    All sizes in input pixels; `tile` is height and width; `uniform_tiles`: see `equalise_spans`.
    """
    down = split_axis(height, tile[0], halo, alignment, begin)
    along = split_axis(width, tile[1], halo, alignment)
    if uniform_tiles:
        down, along = equalise_spans(down, height, alignment), equalise_spans(along, width, alignment)
    for y in down:
        for x in along:
            yield y, x
