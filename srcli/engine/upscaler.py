"""Pixels through a network: plan, run, place; luma-only networks get their chroma by bicubic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from srcli.engine.runtimes import OutOfMemory, Runtime, Sampler
from srcli.engine.tiles import DEFAULT_TILE, SMALLEST_TILE, Span, plan
from srcli.imaging.color import luma, luma_to_rgb, merge_luma
from srcli.imaging.pixels import Pixels, is_grey
from srcli.imaging.resize import resize
from srcli.scales import ANY, Window

# Height and width.
Sides = tuple[int, int]
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Upscaler:
    """One network as a function of pixels, at its own scale, or where that is `ANY` to any size.

    `tile` is in pixels of the network's input; `progress` is told tiles done and tiles in all.
    """

    runtime: Runtime
    scale: int
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = silent

    def __call__(self, pixels: Pixels, size: Sides | None = None) -> Pixels:
        """(H, W, 3) in [0, 1] to (H*scale, W*scale, 3), or to `size` if the scale is any; not clipped."""
        size = size or (pixels.shape[0] * self.scale, pixels.shape[1] * self.scale)
        if self.runtime.channels == 3:
            return self._restore(self._enter(pixels, size), size)
        plane = self._restore(luma(self._enter(pixels, size))[..., None], size)[..., 0]
        if is_grey(pixels):
            return luma_to_rgb(plane)
        return merge_luma(plane, resize(pixels, *size))

    def _enter(self, pixels: Pixels, size: Sides) -> Pixels:
        """What the network is fed with: some want their input at the output's size."""
        return pixels if self.runtime.scale == self.scale else resize(pixels, *size)

    def _restore(self, source: Pixels, size: Sides) -> Pixels:
        """(H, W, C) through the network, once or as the mean over its eight orientations."""
        turns = 8 if self.self_ensemble else 1
        results = (
            turn_back(
                self._tiled(turn(source, k), _turned(size, k), self.tile, _part(self.progress, k, turns)), k
            )
            for k in range(turns)
        )
        total = next(results)
        for result in results:
            total = total + result
        return np.asarray(total / np.float32(turns))

    def _tiled(self, source: Pixels, size: Sides, tile: int, progress: Progress) -> Pixels:
        """Tile by tile; with tiles half as large where memory runs out."""
        try:
            return self._placed(source, size, tile, progress)
        except OutOfMemory:
            if tile <= SMALLEST_TILE:
                raise
            largest = min(tile, max(source.shape[:2]))
            return self._tiled(source, size, max(SMALLEST_TILE, largest // 2), progress)

    def _placed(self, source: Pixels, size: Sides, tile: int, progress: Progress) -> Pixels:
        height, width, channels = source.shape
        tiles = list(plan(height, width, tile, self.runtime.halo, self.runtime.align))
        windows = [(y.axis(height, size[0]), x.axis(width, size[1])) for y, x in tiles]
        out = np.empty((*size, channels), np.float32)
        runtime, progress = self._surveyed(source, tiles, progress)
        results = _kept(runtime, source, tiles, windows)
        for done, ((y, x), result) in enumerate(zip(windows, results, strict=True), 1):
            out[y.target, x.target] = result
            progress(done, len(tiles))
        return out

    def _surveyed(
        self, source: Pixels, tiles: list[tuple[Span, Span]], progress: Progress
    ) -> tuple[Runtime, Progress]:
        """The runtime for these tiles, and whom to tell: half is done if all were looked at before."""
        if len(tiles) == 1:
            return self.runtime, progress
        half = _part(progress, 0, 2)
        runtime = self.runtime.surveyed(_counted(_cut(source, tiles), half, len(tiles)))
        return runtime, progress if runtime is self.runtime else _part(progress, 1, 2)


def _kept(
    runtime: Runtime, source: Pixels, tiles: list[tuple[Span, Span]], windows: list[Window]
) -> Iterator[Pixels]:
    """What is kept of each tile's output: all of what is made for a window, else what is inside the halo."""
    if runtime.scale == ANY:
        assert isinstance(runtime, Sampler)
        yield from runtime.sample(zip(_cut(source, tiles), windows, strict=True))
        return
    for (y, x), result in zip(tiles, runtime.run(_cut(source, tiles)), strict=True):
        yield result[y.inner(runtime.scale), x.inner(runtime.scale)]


def _turned(size: Sides, k: int) -> Sides:
    """The size in the k-th of eight orientations."""
    return (size[1], size[0]) if k % 2 else size


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Tell `progress` of one of `count` equal parts as of the whole."""
    return lambda done, total: progress(number * total + done, count * total)


def _cut(source: Pixels, tiles: list[tuple[Span, Span]]) -> Iterator[Pixels]:
    for y, x in tiles:
        yield source[y.source(), x.source()]


def _counted(tiles: Iterator[Pixels], progress: Progress, count: int) -> Iterator[Pixels]:
    """The tiles as they are; `progress` is told when the next is asked for."""
    for done, tile in enumerate(tiles, 1):
        yield tile
        progress(done, count)


def turn(pixels: Pixels, k: int) -> Pixels:
    """The k-th of the eight orientations of a square."""
    turned = np.rot90(pixels, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


def turn_back(pixels: Pixels, k: int) -> Pixels:
    """What `turn` did undone."""
    return np.rot90(pixels[:, ::-1] if k >= 4 else pixels, -(k % 4))
