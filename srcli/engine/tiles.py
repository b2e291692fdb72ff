"""Tile planning: pure integers in, integers out, so that tiling changes nothing."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from srcli.dataclass import dataclass
from srcli.scales import Axis, count_outputs_before

# In input pixels. Larger tiles are no faster on a CPU, smaller ones spend more on their halo.
DEFAULT_TILE = 512
SMALLEST_TILE = 32
# Bytes of a row of tiles in the output; and on a GPU, which spends more on halos than a CPU does, and whose
# machine has more memory.
LARGEST_BAND, GPU_BAND = 2**26, 2**28


@dataclass(frozen=True)
class Span:
    """One axis of a tile: `start:stop` is read, of which `keep_start:keep_stop` is kept.

    What is read may reach beyond the image: a negative `start` is a pixel of its margin.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    def source(self, margin: int = 0) -> slice:
        """Return what to read of the input, which begins with `margin` pixels that are not of the image."""
        return slice(self.start + margin, self.stop + margin)

    def inner(self, scale: int) -> slice:
        """Return what to keep of the tile's output."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)

    def axis(self, inputs: int, outputs: int) -> Axis:
        """Return the outputs whose centres are in the kept part, if `inputs` pixels become `outputs`."""
        first, last = (
            count_outputs_before(cut, inputs, outputs) for cut in (self.keep_start, self.keep_stop)
        )
        return Axis(inputs, outputs, self.start, first, last)


def split_axis(
    length: int, tile: int, halo: int, alignment: int = 1, begin: int = 0, margin: int = 0
) -> list[Span]:
    """Cut an axis of `length` into kept parts of at most `tile`, each read with `halo` more on both sides.

    The kept parts partition the axis from `begin` on and differ by at most one in length. What is read begins
    and ends at multiples of `alignment`, or at the ends of the axis, beyond which there are `margin` more
    pixels to read.
    """
    count = -(-(length - begin) // tile)
    cuts = [begin + (length - begin) * k // count for k in range(count + 1)]
    return [
        Span(
            max(-margin, (a - halo) // alignment * alignment),
            min(length + margin, -(-(b + halo) // alignment) * alignment),
            a,
            b,
        )
        for a, b in pairwise(cuts)
    ]


def equalise_spans(cut: list[Span], length: int, alignment: int = 1, margin: int = 0) -> list[Span]:
    """Return the spans of an axis of `length`, all widened to read as much as the longest.

    All tiles then have one shape if `length` is a multiple of `alignment`; else the last may be larger.
    """
    longest, end = max(span.stop - span.start for span in cut), length + margin
    side = min(length + 2 * margin, -(-longest // alignment) * alignment)
    out = []
    for span in cut:
        start = min(span.start, end - side) // alignment * alignment
        out.append(replace(span, start=start, stop=max(span.stop, min(end, start + side))))
    return out


def tile_shape(tile: int, width: int, pixel_bytes: int, band: int = LARGEST_BAND) -> tuple[int, int]:
    """Return height and width of tiles of at most `tile` squared pixels, for an image of this width.

    They are less high than wide if the output of a row of them would exceed `band` bytes; each input pixel
    makes `pixel_bytes` of output.
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
    margin: int = 0,
) -> Iterator[tuple[Span, Span]]:
    """Yield the vertical and horizontal span of every tile from row `begin` on, row by row.

    All sizes are in input pixels; `tile` is height and width; `uniform_tiles` widens them to one shape;
    `margin` is what can be read beyond each border.
    """
    down = split_axis(height, tile[0], halo, alignment, begin, margin)
    along = split_axis(width, tile[1], halo, alignment, margin=margin)
    if uniform_tiles:
        down = equalise_spans(down, height, alignment, margin)
        along = equalise_spans(along, width, alignment, margin)
    for y in down:
        for x in along:
            yield y, x
