"""`Rows`: an image with only some rows in memory, computed on request from top to bottom."""

from collections.abc import Callable, Iterator
from dataclasses import field

import numpy as np
from numpy.typing import NDArray

from srcli.dataclass import dataclass
from srcli.imaging.pixels import Pixels, is_8bit, is_grey
from srcli.imaging.resize import KERNELS, Taps, apply_taps, apply_taps_8bit, compute_taps, reflect

_BAND = 32
# Rows that are read at a time to reduce them.
_MOST_READ = 192
# Rows of a stream that are kept above the last request, for a second reader that is a band behind.
_SLACK = _BAND + 16
Widen = Callable[[Pixels, Taps, int, str], Pixels]


@dataclass(frozen=True)
class Rows:
    """An image as a function: `read(start, stop)` returns these rows as (stop - start, width, channels).

    `grey`: the channels of the image that these rows come from are equal.
    """

    height: int
    width: int
    read: Callable[[int, int], Pixels]
    grey: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    def bands(self) -> Iterator[Pixels]:
        """Yield all rows, a few at a time."""
        return (self.read(top, min(top + _BAND, self.height)) for top in range(0, self.height, _BAND))

    def whole(self) -> Pixels:
        """Return all rows at once."""
        bands = self.bands()
        first = next(bands)
        if len(first) == self.height:
            return first
        out = np.empty((self.height, *first.shape[1:]), first.dtype)
        out[: len(first)] = first
        for number, band in enumerate(bands, 1):
            out[number * _BAND : number * _BAND + len(band)] = band
        return out

    def map(self, change: Callable[[Pixels], Pixels]) -> "Rows":
        """Apply `change`, which gets any number of rows at a time and must not look at neighbours."""
        return Rows(self.height, self.width, lambda start, stop: change(self.read(start, stop)), self.grey)


def of(pixels: Pixels) -> Rows:
    """Return the rows of an array (H, W, C)."""
    height, width, channels = pixels.shape
    grey = channels == 1 or is_grey(pixels)
    return Rows(height, width, lambda start, stop: pixels[start:stop], grey)


def from_stream(height: int, width: int, start: Callable[[], Iterator[Pixels]], grey: bool = False) -> Rows:
    """Return rows that `start` computes in bands from the top.

    Requests should move down: rows far above the last request are dropped, and a request for them starts the
    computation again.
    """
    return Rows(height, width, _Window(start).read, grey)


@dataclass
class _Window:
    """The part of a stream that is in memory: `bands`, from row `top` to row `end`."""

    start: Callable[[], Iterator[Pixels]]
    stream: Iterator[Pixels] | None = None
    top: int = 0
    end: int = 0
    bands: list[Pixels] = field(default_factory=list)

    def read(self, start: int, stop: int) -> Pixels:
        if self.stream is None or start < self.top:
            self.stream, self.top, self.end, self.bands = self.start(), 0, 0, []
        while self.end < stop:
            self._advance(start)
        parts, top = [], self.top
        for band in self.bands:
            parts.append(band[max(0, start - top) : max(0, stop - top)])
            top += len(band)
        found = [part for part in parts if len(part)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _advance(self, start: int) -> None:
        """Read the next band, after dropping the rows that are no longer needed."""
        assert self.stream is not None
        top = max(self.top, min(start - _SLACK, self.end))
        if top > self.top:
            self.bands = [self.read(top, self.end).copy()] if top < self.end else []
            self.top = top
        self.bands.append(next(self.stream))
        self.end += len(self.bands[-1])


Fold = Callable[[NDArray[np.intp], int], NDArray[np.intp]]


def repeat(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Return the positions 0..`size`-1 that positions outside have in a periodic image."""
    return np.mod(index, size)


def extend(source: Rows, margin: int, fold: Fold = reflect) -> Rows:
    """Return an image with `margin` more pixels on each side, which `fold` takes from within the image."""
    columns = fold(np.arange(-margin, source.width + margin), source.width)

    def read(start: int, stop: int) -> Pixels:
        wanted = fold(np.arange(start - margin, stop - margin), source.height)
        first, last = int(wanted.min()), int(wanted.max())
        return source.read(first, last + 1)[wanted - first][:, columns]

    return Rows(source.height + 2 * margin, source.width + 2 * margin, read, source.grey)


def crop(source: Rows, height: int, width: int) -> Rows:
    """Return the middle of an image, the rest of which is equally wide on opposite sides."""
    top, left = (source.height - height) // 2, (source.width - width) // 2

    def read(start: int, stop: int) -> Pixels:
        return source.read(start + top, stop + top)[:, left : left + width]

    return Rows(height, width, read, source.grey)


def resize_rows(rows: Rows, height: int, width: int, method: str = "bicubic") -> Rows:
    """Resize rows, with the same result to the bit as `resize`."""
    return _resize(rows, height, width, method, apply_taps)


def interpolate_rows(rows: Rows, height: int, width: int, method: str) -> Rows:
    """Resize rows with 8-bit levels in between if all values are such levels, as MATLAB does for uint8."""
    return _resize(
        rows, height, width, method, apply_taps_8bit if all(map(is_8bit, rows.bands())) else apply_taps
    )


def _resize(rows: Rows, height: int, width: int, method: str, widen: Widen) -> Rows:
    index, weights = compute_taps(rows.height, height, KERNELS[method])

    def read_few(start: int, stop: int) -> Pixels:
        wanted = index[start:stop]
        first, last = int(wanted.min()), int(wanted.max())
        part = rows.read(first, last + 1)
        return widen(part, (wanted - first, weights[start:stop]), width, method)

    # Of an image that is reduced, each row takes many: more at a time would take memory without end.
    few = max(1, _MOST_READ * height // rows.height)

    def read(start: int, stop: int) -> Pixels:
        if stop - start <= few:
            return read_few(start, stop)
        return np.concatenate([read_few(top, min(top + few, stop)) for top in range(start, stop, few)])

    return Rows(height, width, read, rows.grey)
