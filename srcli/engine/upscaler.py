"""Pixels through a network: plan, run, place; luma-only networks get their chroma by bicubic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby
from time import perf_counter

import numpy as np

from srcli.archs import Spec
from srcli.engine import calibration, memory
from srcli.engine.calibration import fitting
from srcli.engine.device import give_back_memory
from srcli.engine.runtimes.base import ByteRuntime, OutOfMemory, Runtime, Sampler
from srcli.engine.seams import Meter, Mismatch, Report, Seam, overlaps
from srcli.engine.tiles import DEFAULT_TILE, GPU_BAND, LARGEST_BAND, SMALLEST_TILE, Span, plan, sides
from srcli.imaging import rows
from srcli.imaging.color import add_luma, luma, luma_to_rgb, remove_luma
from srcli.imaging.pixels import Pixels
from srcli.imaging.rows import Rows
from srcli.scales import ANY, Window
from srcli.workers.prefetch import prefetch
from srcli.workers.progress import Progress, ignore

# Height and width.
Sides = tuple[int, int]
# Seconds of work from which on it says something about what was foretold.
COMPARED = 1.0
# Images with no longer side are enlarged before it would be known whether they fit.
TRIED = 256


@dataclass(frozen=True)
class Upscaler:
    """One network as a function of pixels, at its own scale, or where that is `ANY` to any size.

    `tile` is in pixels of the network's input; `progress` is told tiles done and tiles in all, `report` how
    tiles meet; `spec` is what the network is, where that is known. `beside`: the next tile is made while the
    one before is worked on, which images that are themselves made row by row do not stand.
    """

    runtime: Runtime
    scale: int
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = ignore
    report: Report = ignore
    spec: Spec | None = None
    beside: bool = False

    def __call__(self, pixels: Pixels, size: Sides | None = None) -> Pixels:
        """(H, W, 3) in [0, 1] to (H*scale, W*scale, 3), or to `size` if the scale is any; not clipped."""
        return self.flow(rows.of(pixels), size).whole()

    def flow(self, source: Rows, size: Sides | None = None) -> Rows:
        """The same of an image of which only some rows are held; with `self_ensemble` all of it is."""
        size = size or (source.height * self.scale, source.width * self.scale)
        if self.runtime.channels == 3:
            return self._restore(self._enter(source, size), size)
        plane = self._restore(self._enter(source, size).map(_as_plane), size)
        if source.grey:
            return plane.map(lambda band: luma_to_rgb(band[..., 0]))
        colours = rows.resize_rows(source.map(remove_luma), *size)

        def merged(start: int, stop: int) -> Pixels:
            return add_luma(colours.read(start, stop), plane.read(start, stop)[..., 0])

        return Rows(plane.height, plane.width, merged)

    def as_uint8(self) -> "Upscaler | None":
        """The same, whose rows are uint8; None where more is to be done to what comes out of the network."""
        plain = self.runtime.channels == 3 and self.runtime.scale != ANY and not self.self_ensemble
        rounding = self.runtime.as_uint8() if plain and isinstance(self.runtime, ByteRuntime) else None
        return replace(self, runtime=rounding) if rounding else None

    def _enter(self, source: Rows, size: Sides) -> Rows:
        """What the network is fed with: some want their input at the output's size."""
        return source if self.runtime.scale == self.scale else rows.resize_rows(source, *size)

    def _restore(self, source: Rows, size: Sides) -> Rows:
        """(H, W, C) through the network, once or as the mean over its eight orientations."""
        if not self.self_ensemble:
            start = partial(self._bands, source, size, self.progress)
            return rows.from_stream(*size, start, source.grey)
        return Rows(*size, _Once(partial(self._ensemble, source, size)).read, source.grey)

    def _ensemble(self, source: Rows, size: Sides) -> Pixels:
        pixels = source.whole()
        total: Pixels | None = None
        for k in range(8):
            turned, shape = rows.of(np.ascontiguousarray(turn(pixels, k))), _turned(size, k)
            start = partial(self._bands, turned, shape, _part(self.progress, k, 8))
            result = turn_back(rows.from_stream(*shape, start).whole(), k)
            total = result if total is None else np.add(total, result, out=total)
        assert total is not None
        total /= np.float32(8)
        return total

    def _bands(self, source: Rows, size: Sides, progress: Progress) -> Iterator[Pixels]:
        """A row of tiles at a time; what is left has smaller tiles where memory runs out.

        It has more overlap where tiles do not meet.
        """
        tile = self._fitting(source)
        runtime, tile, progress = self._surveyed(source, size, tile, progress)
        clock = _Clock(self.runtime, self.spec)
        tries = iter(overlaps(runtime.halo, tile))
        overlap, meter = _measured(runtime, tries)
        top = done = 0
        while top < source.height:
            tiles = self.plan(source.shape, size, tile, overlap, top)
            made = clock.through(_kept(runtime, source, size, tiles, meter), tiles)
            made = prefetch(made) if self.beside and len(tiles) > 1 else made
            results = _told(made, progress, done, done + len(tiles))
            try:
                for row in _by_row(tiles):
                    band = _placed(_windows(row, source, size), results, runtime.channels)
                    top, done = row[0][0].keep_stop, done + len(row)
                    if top == source.height:
                        clock.compare()
                        if meter.sides:
                            self.report(Seam(meter.worst, overlap))
                    yield band
                    del band  # else it would be held while the next is made
                    give_back_memory()  # blocks of all sizes lie in between by now, and add up over rows
            except OutOfMemory as error:
                tile = _halved(tile, source.shape, error)
            except Mismatch as found:
                self.report(Seam(found.step, overlap, again=True))
                overlap, meter = _measured(runtime, tries)

    def _fitting(self, source: Rows) -> int:
        """As large a tile as was asked for, or as memory has room for, this machine's or a GPU's.

        Images of one tile are tried.
        """
        runtime = self.runtime
        if runtime.uniform_tiles:
            return runtime.largest_tile(self.tile) if max(source.shape) > self.tile else self.tile
        known = runtime.description.startswith("cpu") and runtime.scale != ANY
        if max(source.shape) <= TRIED or not known:
            return self.tile
        return fitting(runtime, self.tile, memory.free())

    def plan(
        self, source: Sides, size: Sides, tile: int, overlap: int | None = None, top: int = 0
    ) -> list[tuple[Span, Span]]:
        """The tiles of an input that becomes `size`, from the row `top` on. `overlap`: else the halo."""
        (height, width), runtime = source, self.runtime
        sample_bytes = 1 if isinstance(runtime, ByteRuntime) and runtime.returns_uint8 else 4
        pixel_bytes = sample_bytes * runtime.channels * -(-size[0] * size[1] // (height * width))
        shape = sides(tile, width, pixel_bytes, GPU_BAND if runtime.uniform_tiles else LARGEST_BAND)
        overlap = runtime.halo if overlap is None else overlap
        return list(
            plan(height, width, shape, overlap, runtime.alignment, top, uniform_tiles=runtime.uniform_tiles)
        )

    def _surveyed(
        self, source: Rows, size: Sides, tile: int, progress: Progress
    ) -> tuple[Runtime, int, Progress]:
        """The runtime for this image, the largest tile that fits as far as that was tried, and whom to tell.

        Half is done if all tiles were looked at before.
        """
        tiles = self.plan(source.shape, size, tile)
        if len(tiles) == 1:
            return self.runtime, tile, progress
        seen = _counted(_cut(source, tiles), _part(progress, 0, 2), len(tiles))
        try:
            runtime = self.runtime.with_global_stats(seen)
        except OutOfMemory as error:
            return self._surveyed(source, size, _halved(tile, source.shape, error), progress)
        return runtime, tile, progress if runtime is self.runtime else _part(progress, 1, 2)


@dataclass
class _Clock:
    """How long tiles of an image took, beside what was foretold."""

    runtime: Runtime
    spec: Spec | None
    areas: list[int] = field(default_factory=list)
    seconds: float = 0

    def through(self, results: Iterator[Pixels], tiles: list[tuple[Span, Span]]) -> Iterator[Pixels]:
        """The results of these tiles as they are."""
        for y, x in tiles:
            start = perf_counter()
            result = next(results)
            self.seconds += perf_counter() - start
            self.areas.append((y.stop - y.start) * (x.stop - x.start))
            yield result

    def compare(self) -> None:
        """To be called at the end."""
        if self.spec and self.seconds >= COMPARED:
            calibration.compare(self.runtime, str(self.spec), self.areas, self.seconds)


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


def _windows(row: list[tuple[Span, Span]], source: Rows, size: Sides) -> list[Window]:
    """Where the outputs of tiles lie."""
    return [(y.axis(source.height, size[0]), x.axis(source.width, size[1])) for y, x in row]


def _placed(windows: list[Window], results: Iterator[Pixels], channels: int) -> Pixels:
    """The next tiles put side by side: the rows of the output that they give."""
    y, width = windows[0][0], windows[0][1].outputs
    band: Pixels | None = None
    for _, x in windows:
        tile = next(results)
        band = np.empty((y.last - y.first, width, channels), tile.dtype) if band is None else band
        for channel in range(channels):  # one after the other is three times faster, as runtimes have planes
            band[:, x.target, channel] = tile[..., channel]
    assert band is not None
    return band


def _measured(runtime: Runtime, tries: Iterator[tuple[int, float]]) -> tuple[int, Meter]:
    """The next overlap to try, and what measures how tiles meet with it."""
    overlap, limit = next(tries)
    return overlap, Meter(runtime.scale, limit)


def _kept(
    runtime: Runtime, source: Rows, size: Sides, tiles: list[tuple[Span, Span]], meter: Meter
) -> Iterator[Pixels]:
    """What is kept of each tile's output: all of what is made for a window, else what is inside the halo."""
    if runtime.scale == ANY:
        assert isinstance(runtime, Sampler)
        yield from runtime.sample(zip(_cut(source, tiles), _windows(tiles, source, size), strict=True))
        return
    # Another reader of what is fed with luma, the one for chroma, is a row behind: no more is read ahead.
    groups = [tiles] if runtime.channels == 3 or source.grey else _by_row(tiles)
    results = chain.from_iterable(runtime.run(_cut(source, group)) for group in groups)
    for (y, x), result in zip(tiles, results, strict=True):
        meter.see(y, x, result)
        yield result[y.inner(runtime.scale), x.inner(runtime.scale)]


def _turned(size: Sides, k: int) -> Sides:
    """The size in the k-th of eight orientations."""
    return (size[1], size[0]) if k % 2 else size


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
