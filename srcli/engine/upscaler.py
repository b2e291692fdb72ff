"""Pixels through a network: plan, run, place; luma-only networks get their chroma by bicubic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from srcli.archs import Spec
from srcli.engine import memory
from srcli.engine.calibrate import fitting
from srcli.engine.device import give_back_memory
from srcli.engine.runtimes import OutOfMemory, Runtime
from srcli.engine.tiles import DEFAULT_TILE, SMALLEST_TILE, Span, plan, sides
from srcli.imaging import rows
from srcli.imaging.color import luma, luma_to_rgb, merge_luma
from srcli.imaging.pixels import Pixels
from srcli.imaging.rows import Rows

Progress = Callable[[int, int], None]
# Images with no longer side are enlarged before it would be known whether they fit.
TRIED = 256


def silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Upscaler:
    """One network as a function of pixels, at its own scale.

    `tile` is in pixels of the network's input; `progress` is told tiles done and tiles in all; `spec` is what
    the network is, where that is known.
    """

    runtime: Runtime
    scale: int
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = silent
    spec: Spec | None = None

    def __call__(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) in [0, 1] to (H*scale, W*scale, 3), not clipped."""
        return self.flow(rows.of(pixels)).whole()

    def flow(self, source: Rows) -> Rows:
        """The same of an image of which only some rows are held; with `self_ensemble` all of it is."""
        if self.runtime.channels == 3:
            return self._restore(self._enter(source))
        plane = self._restore(self._enter(source).each(_as_plane))
        if source.grey:
            return plane.each(lambda band: luma_to_rgb(band[..., 0]))
        chroma = self._enlarge(source)

        def merged(start: int, stop: int) -> Pixels:
            return merge_luma(plane.read(start, stop)[..., 0], chroma.read(start, stop))

        return Rows(plane.height, plane.width, merged)

    def _enter(self, source: Rows) -> Rows:
        """What the network is fed with: some want their input at the output's size."""
        return source if self.runtime.scale == self.scale else self._enlarge(source)

    def _enlarge(self, source: Rows) -> Rows:
        return rows.resized(source, source.height * self.scale, source.width * self.scale)

    def _restore(self, source: Rows) -> Rows:
        """(H, W, C) through the network, once or as the mean over its eight orientations."""
        height, width = (side * self.runtime.scale for side in source.shape)
        if not self.self_ensemble:
            start = partial(self._bands, source, self.progress)
            return rows.flowing(height, width, start, source.grey)
        return Rows(height, width, _Once(partial(self._ensemble, source)).read, source.grey)

    def _ensemble(self, source: Rows) -> Pixels:
        pixels = source.whole()
        total: Pixels | None = None
        for k in range(8):
            turned = rows.of(np.ascontiguousarray(turn(pixels, k)))
            height, width = (side * self.runtime.scale for side in turned.shape)
            start = partial(self._bands, turned, _part(self.progress, k, 8))
            result = turn_back(rows.flowing(height, width, start).whole(), k)
            total = result if total is None else np.add(total, result, out=total)
        assert total is not None
        total /= np.float32(8)
        return total

    def _bands(self, source: Rows, progress: Progress) -> Iterator[Pixels]:
        """A row of tiles at a time; where memory runs out, what is left in tiles half as large."""
        tile = self._fitting(source)
        runtime, tile, progress = self._surveyed(source, tile, progress)
        top = done = 0
        while top < source.height:
            tiles = self.plan(*source.shape, tile, top)
            results = _told(runtime.run(_cut(source, tiles)), progress, done, done + len(tiles))
            try:
                for row in _by_row(tiles):
                    yield _placed(row, results, source.width, runtime)
                    top, done = row[0][0].keep_stop, done + len(row)
                    give_back_memory()  # blocks of all sizes lie in between by now, and add up over rows
            except OutOfMemory as error:
                tile = _halved(tile, source.shape, error)

    def _fitting(self, source: Rows) -> int:
        """As large a tile as was asked for, or as free memory has room for: images of one tile are tried."""
        if max(source.shape) <= TRIED or not self.runtime.where.startswith("cpu"):
            return self.tile
        return fitting(self.runtime, self.tile, memory.free())

    def plan(self, height: int, width: int, tile: int, top: int = 0) -> list[tuple[Span, Span]]:
        """The tiles of the network's input of that size, from the row `top` on."""
        size = sides(tile, width, 4 * self.runtime.channels * self.runtime.scale**2)
        return list(plan(height, width, size, self.runtime.halo, self.runtime.align, top))

    def _surveyed(self, source: Rows, tile: int, progress: Progress) -> tuple[Runtime, int, Progress]:
        """The runtime for this image, the largest tile that fits as far as that was tried, and whom to tell.

        Half is done if all tiles were looked at before.
        """
        tiles = self.plan(*source.shape, tile)
        if len(tiles) == 1:
            return self.runtime, tile, progress
        seen = _counted(_cut(source, tiles), _part(progress, 0, 2), len(tiles))
        try:
            runtime = self.runtime.surveyed(seen)
        except OutOfMemory as error:
            return self._surveyed(source, _halved(tile, source.shape, error), progress)
        return runtime, tile, progress if runtime is self.runtime else _part(progress, 1, 2)


@dataclass
class _Once:
    """An image that is made as a whole, when the first of it is asked for."""

    make: Callable[[], Pixels]
    made: Pixels | None = None

    def read(self, start: int, stop: int) -> Pixels:
        if self.made is None:
            self.made = self.make()
        return self.made[start:stop]


def _as_plane(band: Pixels) -> Pixels:
    return np.asarray(luma(band)[..., None], np.float32)


def _halved(tile: int, size: tuple[int, int], error: OutOfMemory) -> int:
    """A tile half as large; `error` is raised where there is none."""
    if tile <= SMALLEST_TILE:
        raise error
    return max(SMALLEST_TILE, min(tile, max(size)) // 2)


def _by_row(tiles: list[tuple[Span, Span]]) -> list[list[tuple[Span, Span]]]:
    return [list(row) for _, row in groupby(tiles, lambda tile: tile[0])]


def _placed(row: list[tuple[Span, Span]], results: Iterator[Pixels], width: int, runtime: Runtime) -> Pixels:
    """The next tiles put side by side: the rows of the output that they give."""
    scale, height = runtime.scale, row[0][0].keep_stop - row[0][0].keep_start
    band = np.empty((height * scale, width * scale, runtime.channels), np.float32)
    for y, x in row:
        band[:, x.target(scale)] = next(results)[y.inner(scale), x.inner(scale)]
    return band


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Tell `progress` of one of `count` equal parts as of the whole."""
    return lambda done, total: progress(number * total + done, count * total)


def _cut(source: Rows, tiles: list[tuple[Span, Span]]) -> Iterator[Pixels]:
    for row in _by_row(tiles):
        window = source.read(row[0][0].start, row[0][0].stop)
        for _, x in row:
            yield window[:, x.source()]


def _counted(tiles: Iterator[Pixels], progress: Progress, count: int) -> Iterator[Pixels]:
    """The tiles as they are; `progress` is told when the next is asked for."""
    for done, tile in enumerate(tiles, 1):
        yield tile
        progress(done, count)


def _told(results: Iterator[Pixels], progress: Progress, before: int, total: int) -> Iterator[Pixels]:
    """The results as they are; `progress` is told when one is there."""
    for done, result in enumerate(results, before + 1):
        progress(done, total)
        yield result


def turn(pixels: Pixels, k: int) -> Pixels:
    """The k-th of the eight orientations of a square."""
    turned = np.rot90(pixels, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


def turn_back(pixels: Pixels, k: int) -> Pixels:
    """What `turn` did undone."""
    return np.rot90(pixels[:, ::-1] if k >= 4 else pixels, -(k % 4))
