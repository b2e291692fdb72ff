"""Pixels through a network: plan tiles, run them, place them. Luma networks get their chroma by bicubic."""

from collections.abc import Callable, Iterator
from dataclasses import field, replace
from functools import partial
from itertools import chain, groupby
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np

from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.engine import calibration, memory
from srcli.engine.calibration import fit_tile
from srcli.engine.device import release_memory
from srcli.engine.runtimes.base import OutOfMemory, Runtime, Sampler, check_result
from srcli.engine.seams import Report, Seam, SeamMeter, SeamMismatch, plan_overlaps
from srcli.engine.tiles import (
    DEFAULT_TILE,
    GPU_BAND,
    LARGEST_BAND,
    SMALLEST_TILE,
    Span,
    plan_tiles,
    tile_shape,
)
from srcli.imaging import rows
from srcli.imaging.color import add_luma, luma, luma_to_rgb, remove_luma
from srcli.imaging.pixels import Pixels
from srcli.imaging.rows import Rows
from srcli.scales import ANY, Window
from srcli.workers.prefetch import prefetch
from srcli.workers.progress import Progress, Wait, ignore

if TYPE_CHECKING:
    from srcli.engine.runtimes.trials import SpeedRecord

# Height and width.
Sides = tuple[int, int]
# Vertical and horizontal span.
Tile = tuple[Span, Span]
# Work of at least this many seconds is compared with the rate that was measured.
MIN_COMPARED_SECONDS = 1.0
# Images with no longer side are upscaled without measuring whether they fit.
MAX_UNMEASURED_SIDE = 256


@dataclass(frozen=True)
class Upscaler:
    """One network as a function of pixels, at its own scale, or to any size if that is `ANY`.

    `tile` is in pixels of the network's input; `progress` gets the tiles done and in all, `report` how tiles
    meet; `spec` says what the network is, if known. `prefetch`: the next tile runs on a thread while the last
    one is used, which images that are themselves made row by row do not allow.
    `mirrors_border`: beyond its border, the network sees the image mirrored, and not the zeros of its own
    padding, which darken a white border. `wait` announces measurements that take long.
    """

    runtime: Runtime
    scale: int
    tile: int = DEFAULT_TILE
    self_ensemble: bool = False
    progress: Progress = ignore
    report: Report = ignore
    spec: Spec | None = None
    prefetch: bool = False
    mirrors_border: bool = False
    record: "SpeedRecord | None" = None
    wait: Wait = ignore

    def __call__(self, pixels: Pixels, size: Sides | None = None) -> Pixels:
        """Return (H*scale, W*scale, 3) for (H, W, 3) in [0, 1], or `size` for any scale; not clipped."""
        return self.stream(rows.of(pixels), size).whole()

    def stream(self, source: Rows, size: Sides | None = None) -> Rows:
        """Return the same for an image of which only some rows are held; `self_ensemble` holds all."""
        size = size or (source.height * self.scale, source.width * self.scale)
        if self.runtime.info.channels == 3:
            return self._restore(self._resize_input(source, size), size)
        plane = self._restore(self._resize_input(source, size).map(_take_luma), size)
        if source.grey:
            return plane.map(lambda band: luma_to_rgb(band[..., 0]))
        chroma = rows.resize_rows(source.map(remove_luma), *size)

        def merge(start: int, stop: int) -> Pixels:
            return add_luma(chroma.read(start, stop), plane.read(start, stop)[..., 0])

        return Rows(plane.height, plane.width, merge)

    def as_uint8(self) -> "Upscaler | None":
        """Return an upscaler whose rows are uint8; None if more is done to what the network returns."""
        info = self.runtime.info
        if info.scale == ANY or self.self_ensemble:
            return None
        rounding = self.runtime.as_uint8()
        is_rgb = rounding is not None and rounding.info.channels == 3
        return replace(self, runtime=rounding) if rounding and is_rgb else None

    def plan(
        self, source: Sides, size: Sides, tile: int, overlap: int | None = None, top: int = 0
    ) -> list[Tile]:
        """Return the tiles of an input that becomes `size`, below `top`; `overlap` is the halo by default."""
        (height, width), runtime, info = source, self.runtime, self.runtime.info
        sample_bytes = 1 if runtime.returns_uint8 else 4
        pixel_bytes = sample_bytes * info.channels * -(-size[0] * size[1] // (height * width))
        shape = tile_shape(tile, width, pixel_bytes, GPU_BAND if runtime.uniform_tiles else LARGEST_BAND)
        tiles = plan_tiles(
            height,
            width,
            shape,
            info.halo if overlap is None else overlap,
            info.alignment,
            top,
            uniform_tiles=runtime.uniform_tiles,
            margin=self._margin,
        )
        return list(tiles)

    @property
    def _margin(self) -> int:
        """The input pixels that are added to each side of an image."""
        alignment = self.runtime.info.alignment
        return -(-self.runtime.info.halo // alignment) * alignment if self.mirrors_border else 0

    def _resize_input(self, source: Rows, size: Sides) -> Rows:
        """Return what the network takes: some take their input at the output's size."""
        return source if self.runtime.info.scale == self.scale else rows.resize_rows(source, *size)

    def _restore(self, source: Rows, size: Sides) -> Rows:
        """Return (H, W, C) run through the network once, or the mean over its eight orientations."""
        if not self.self_ensemble:
            start = partial(self._bands, source, size, self.progress)
            return rows.from_stream(*size, start, source.grey)
        return Rows(*size, _Lazy(partial(self._ensemble, source, size)).read, source.grey)

    def _ensemble(self, source: Rows, size: Sides) -> Pixels:
        pixels = source.whole()
        total: Pixels | None = None
        for k in range(8):
            turned, shape = rows.of(np.ascontiguousarray(orient(pixels, k))), _orient_size(size, k)
            start = partial(self._bands, turned, shape, _part(self.progress, k, 8))
            result = undo_orientation(rows.from_stream(*shape, start).whole(), k)
            total = result if total is None else np.add(total, result, out=total)
        assert total is not None
        total /= np.float32(8)
        return total

    def _bands(self, source: Rows, size: Sides, progress: Progress) -> Iterator[Pixels]:
        """Yield the output one row of tiles at a time.

        If memory runs out, the rest of the image has smaller tiles; if tiles do not meet, more overlap.
        """
        tile, margin = self._fit_tile(source), self._margin
        extended = rows.extend(source, margin) if margin else source
        runtime, tile, progress = self._take_global_stats(source, size, tile, progress)
        clock = _Clock(self.runtime, self.spec, self.record)
        overlaps = iter(plan_overlaps(runtime.info.halo, tile))
        overlap, meter = _next_overlap(runtime, overlaps)
        top = done = 0
        while top < source.height:
            tiles = self.plan(source.shape, size, tile, overlap, top)
            results = clock.time(_run_tiles(runtime, extended, margin, size, tiles, meter), tiles)
            results = prefetch(results) if self.prefetch and len(tiles) > 1 else results
            results = _count_results(results, progress, done, done + len(tiles))
            try:
                for row in _group_by_row(tiles):
                    band = _place(_windows(row, source, size), results, runtime.info.channels)
                    top, done = row[0][0].keep_stop, done + len(row)
                    if top == source.height:
                        clock.check_rate()
                        if meter.sides:
                            self.report(Seam(meter.worst, overlap))
                    yield band
                    del band  # it would be held while the next one is made
                    release_memory()  # freed blocks of all sizes lie scattered by now, and add up over rows
            except OutOfMemory as error:
                tile = _halve(tile, source.shape, error)
            except SeamMismatch as found:
                self.report(Seam(found.step, overlap, again=True))
                overlap, meter = _next_overlap(runtime, overlaps)

    def _fit_tile(self, source: Rows) -> int:
        """Return the requested tile side, or less if memory is short; small images are not measured."""
        runtime = self.runtime
        if runtime.uniform_tiles:
            return runtime.largest_tile(self.tile) if max(source.shape) > self.tile else self.tile
        if max(source.shape) <= MAX_UNMEASURED_SIDE or runtime.info.scale == ANY:
            return self.tile
        return fit_tile(runtime, self.tile, memory.free_memory(), self.wait)

    def _take_global_stats(
        self, source: Rows, size: Sides, tile: int, progress: Progress
    ) -> tuple[Runtime, int, Progress]:
        """Return the runtime for this image, the largest tile known to fit, and the callback for progress.

        If the runtime looked at all tiles, half of the progress is made.
        """
        tiles = self.plan(source.shape, size, tile)
        if len(tiles) == 1:
            return self.runtime, tile, progress
        seen = _count_tiles(
            _crop(rows.extend(source, self._margin), tiles, self._margin), _part(progress, 0, 2), len(tiles)
        )
        try:
            runtime = self.runtime.with_global_stats(seen)
        except OutOfMemory as error:
            return self._take_global_stats(source, size, _halve(tile, source.shape, error), progress)
        return runtime, tile, progress if runtime is self.runtime else _part(progress, 1, 2)


@dataclass
class _Clock:
    """The time that the tiles of an image take, to be compared with the measured rate."""

    runtime: Runtime
    spec: Spec | None
    record: "SpeedRecord | None" = None
    areas: list[int] = field(default_factory=list)
    seconds: float = 0
    processor_seconds: float = 0

    def time(self, results: Iterator[Pixels], tiles: list[Tile]) -> Iterator[Pixels]:
        """Yield the results of these tiles unchanged."""
        for y, x in tiles:
            start, processor = perf_counter(), process_time()
            result = next(results)
            self.seconds += perf_counter() - start
            self.processor_seconds += process_time() - processor
            self.areas.append((y.stop - y.start) * (x.stop - x.start))
            yield result

    def check_rate(self) -> None:
        """Compare the whole with what was measured; to be called at the end."""
        if self.seconds < MIN_COMPARED_SECONDS:
            return
        if self.record:
            self.record.correct(self.areas, self.seconds, self.processor_seconds)
        if self.spec:
            calibration.check_rate(self.runtime, str(self.spec), self.areas, self.seconds)


@dataclass
class _Lazy:
    """An image that is made as a whole, when its first rows are read."""

    make: Callable[[], Pixels]
    pixels: Pixels | None = None

    def read(self, start: int, stop: int) -> Pixels:
        if self.pixels is None:
            self.pixels = self.make()
        return self.pixels[start:stop]


def _take_luma(band: Pixels) -> Pixels:
    return np.asarray(luma(band)[..., None], np.float32)


def _halve(tile: int, size: Sides, error: OutOfMemory) -> int:
    """Return half the tile side; raise `error` if it is the smallest already."""
    if tile <= SMALLEST_TILE:
        raise error
    return max(SMALLEST_TILE, min(tile, max(size)) // 2)


def _group_by_row(tiles: list[Tile]) -> list[list[Tile]]:
    return [list(row) for _, row in groupby(tiles, lambda tile: tile[0])]


def _windows(row: list[Tile], source: Rows, size: Sides) -> list[Window]:
    """Return where the outputs of tiles lie."""
    return [(y.axis(source.height, size[0]), x.axis(source.width, size[1])) for y, x in row]


def _place(windows: list[Window], results: Iterator[Pixels], channels: int) -> Pixels:
    """Return the rows of the output that the next results make, side by side."""
    y, width = windows[0][0], windows[0][1].outputs
    band: Pixels | None = None
    for _, x in windows:
        tile = next(results)
        is_interleaved = tile.strides[2] == tile.itemsize
        if is_interleaved and tile.shape[1] == width:
            return tile
        band = np.empty((y.last - y.first, width, channels), tile.dtype) if band is None else band
        # Channel by channel is three times as fast for planes, as most runtimes return them.
        for channel in [slice(None)] if is_interleaved else range(channels):
            band[:, x.target, channel] = tile[..., channel]
    assert band is not None
    return band


def _next_overlap(runtime: Runtime, overlaps: Iterator[tuple[int, float]]) -> tuple[int, SeamMeter]:
    """Return the next overlap to try, and a meter of how tiles meet with it."""
    overlap, limit = next(overlaps)
    return overlap, SeamMeter(runtime.info.scale, limit)


def _run_tiles(
    runtime: Runtime, source: Rows, margin: int, size: Sides, tiles: list[Tile], meter: SeamMeter
) -> Iterator[Pixels]:
    """Crop each tile's output: keep the requested window, or all but the halo.

    `source` has `margin` more pixels on each side.
    """
    info = runtime.info
    if info.scale == ANY:
        assert isinstance(runtime, Sampler)
        sampled = runtime.sample(zip(_crop(source, tiles), _windows(tiles, source, size), strict=True))
        yield from map(check_result, sampled)
        return
    # If luma and chroma are read apart, chroma is a row of tiles behind, and no more may be read ahead.
    groups = [tiles] if info.channels == 3 or source.grey else _group_by_row(tiles)
    results = chain.from_iterable(runtime.run(_crop(source, group, margin)) for group in groups)
    for (y, x), result in zip(tiles, results, strict=True):
        meter.add(y, x, check_result(result))
        yield result[y.inner(info.scale), x.inner(info.scale)]


def _orient_size(size: Sides, k: int) -> Sides:
    return (size[1], size[0]) if k % 2 else size


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Return a callback for one of `count` equal parts of the work."""
    return lambda done, total: progress(number * total + done, count * total)


def _crop(source: Rows, tiles: list[Tile], margin: int = 0) -> Iterator[Pixels]:
    for row in _group_by_row(tiles):
        high = row[0][0].source(margin)
        window = source.read(high.start, high.stop)
        for _, x in row:
            yield window[:, x.source(margin)]


def _count_tiles(tiles: Iterator[Pixels], progress: Progress, count: int) -> Iterator[Pixels]:
    """Yield the tiles; report each one when the next is requested."""
    for done, tile in enumerate(tiles, 1):
        yield tile
        progress(done, count)


def _count_results(
    results: Iterator[Pixels], progress: Progress, before: int, total: int
) -> Iterator[Pixels]:
    """Yield the results, and report each as it comes."""
    for done, result in enumerate(results, before + 1):
        progress(done, total)
        yield result


def orient(pixels: Pixels, k: int) -> Pixels:
    """Return (H, W, C) in the k-th of the eight orientations of a square."""
    turned = np.rot90(pixels, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


def undo_orientation(pixels: Pixels, k: int) -> Pixels:
    """Return what `orient` was given for this `k`."""
    return np.rot90(pixels[:, ::-1] if k >= 4 else pixels, -(k % 4))
