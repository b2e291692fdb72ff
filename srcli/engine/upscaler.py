"""Pixels through a network: plan, run, place; luma-only networks get their chroma by bicubic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from srcli.engine.runtimes import OutOfMemory, Runtime
from srcli.engine.seams import Meter, Mismatch, Report, Seam, overlaps, untold
from srcli.engine.tiles import DEFAULT_TILE, SMALLEST_TILE, Span, plan
from srcli.imaging.color import luma, luma_to_rgb, merge_luma
from srcli.imaging.pixels import Pixels, is_grey
from srcli.imaging.resize import resize

Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Upscaler:
    """One network as a function of pixels, at its own scale.

    `tile` is in pixels of the network's input; `progress` is told tiles done and tiles in all, `report` how
    tiles meet.
    """

    runtime: Runtime
    scale: int
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = silent
    report: Report = untold

    def __call__(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) in [0, 1] to (H*scale, W*scale, 3), not clipped."""
        if self.runtime.channels == 3:
            return self._restore(self._enter(pixels))
        plane = self._restore(luma(self._enter(pixels))[..., None])[..., 0]
        if is_grey(pixels):
            return luma_to_rgb(plane)
        return merge_luma(plane, self._enlarge(pixels))

    def _enter(self, pixels: Pixels) -> Pixels:
        """What the network is fed with: some want their input at the output's size."""
        return pixels if self.runtime.scale == self.scale else self._enlarge(pixels)

    def _enlarge(self, pixels: Pixels) -> Pixels:
        return resize(pixels, pixels.shape[0] * self.scale, pixels.shape[1] * self.scale)

    def _restore(self, source: Pixels) -> Pixels:
        """(H, W, C) through the network, once or as the mean over its eight orientations."""
        turns = 8 if self.self_ensemble else 1
        results = (
            turn_back(self._tiled(turn(source, k), self.tile, _part(self.progress, k, turns)), k)
            for k in range(turns)
        )
        total = next(results)
        for result in results:
            total = total + result
        return np.asarray(total / np.float32(turns))

    def _tiled(self, source: Pixels, tile: int, progress: Progress) -> Pixels:
        """Tile by tile; with tiles half as large where memory runs out."""
        try:
            return self._joined(source, tile, progress)
        except OutOfMemory:
            if tile <= SMALLEST_TILE:
                raise
            largest = min(tile, max(source.shape[:2]))
            return self._tiled(source, max(SMALLEST_TILE, largest // 2), progress)

    def _joined(self, source: Pixels, tile: int, progress: Progress) -> Pixels:
        """With more overlap where tiles do not meet."""
        for overlap, limit in overlaps(self.runtime.halo, tile):
            meter = Meter(self.runtime.scale, limit)
            try:
                out = self._placed(source, tile, overlap, progress, meter)
            except Mismatch as found:
                self.report(Seam(found.step, overlap, again=True))
                continue
            if meter.sides:
                self.report(Seam(meter.worst, overlap))
            return out
        raise AssertionError("the last overlap takes any step")

    def _placed(self, source: Pixels, tile: int, overlap: int, progress: Progress, meter: Meter) -> Pixels:
        height, width, channels = source.shape
        scale = self.runtime.scale
        tiles = list(plan(height, width, tile, overlap, self.runtime.align))
        out = np.empty((height * scale, width * scale, channels), np.float32)
        runtime, progress = self._surveyed(source, tiles, progress)
        results = runtime.run(_cut(source, tiles))
        for done, ((y, x), result) in enumerate(zip(tiles, results, strict=True), 1):
            meter.see(y, x, result)
            out[y.target(scale), x.target(scale)] = result[y.inner(scale), x.inner(scale)]
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
