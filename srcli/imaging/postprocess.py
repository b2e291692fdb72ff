"""Changes to an enlarged image by the image it was made from: back-projection, colours, noise; sharpening."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from srcli.imaging.color import luma
from srcli.imaging.pixels import Pixels
from srcli.imaging.quality_estimate import estimate_noise
from srcli.imaging.resize import resize
from srcli.imaging.rows import Rows, extend, from_stream, resize_rows

_ROUNDS = 20
_CLOSE_ENOUGH = 0.25 / 255
_COLOUR_CELL = 8
_LEAST_FOR_NOISE, _ROWS_FOR_NOISE = 32, 512
# Distances from the input, without noise and averaged around a pixel, at which `blend_back` starts and at
# which only bicubic is left. Chosen by eye: of normal photographs by Real-ESRGAN, 7 to 21 % is blended; of
# portraits with a face of 20 to 30 pixels, which it makes up, 40 to 50 %.
_NEAR, _FAR = 2.5 / 255, 6.5 / 255
_DETAIL_SIGMA, _AREA_SIGMA = 1.5, 2.5
# The share of white noise that is left by a blur of `_DETAIL_SIGMA`, with some to spare.
_NOISE_LEFT = 0.25


def back_project(large: Pixels, small: Pixels) -> Pixels:
    """Change `large` until downscaling it by bicubic gives `small`, within rounding or nearly so.

    Iterative back-projection: Irani and Peleg, CVGIP 53 (1991), 231-239. Values in [0, 1].
    """
    for _ in range(_ROUNDS):
        error = small - _resize_to(large, small)
        if np.abs(error).max() < _CLOSE_ENOUGH:
            break
        large = np.clip(large + _resize_to(error, large), 0, 1)
    return large


def transfer_colours(large: Rows, small: Rows) -> Rows:
    """Give `large` the coarse colours of `small`: means over cells of 8x8 of its pixels. Values in [0, 1]."""
    return from_stream(*large.shape, partial(_transfer_bands, large, small), large.grey)


def _transfer_bands(large: Rows, small: Rows) -> Iterator[Pixels]:
    """Yield corrected rows from the middle of one row of cells to the middle of the next."""
    cells = max(1, round(small.height / _COLOUR_CELL))
    tops, small_tops = _split(large.height, cells), _split(small.height, cells)
    waiting = previous = None
    for cell in range(cells):
        wanted = small.read(small_tops[cell], small_tops[cell + 1])
        block = large.read(tops[cell], tops[cell + 1])
        shift = _find_shift(block, wanted)
        waiting = block if waiting is None else np.concatenate([waiting, block])
        top = tops[cell + 1] - len(waiting)
        bottom = large.height if cell == cells - 1 else (tops[cell] + tops[cell + 1]) // 2
        place = (np.arange(top, bottom, dtype=np.float32) + 0.5) / large.height * cells - cell
        weight = np.clip(place + 0.5, 0, 1)[:, None, None]
        between = shift if previous is None else previous + (shift - previous) * weight
        yield np.clip(waiting[: bottom - top] + between, 0, 1)
        waiting, previous = waiting[bottom - top :], shift


def _find_shift(block: Pixels, wanted: Pixels) -> Pixels:
    """Return by how much the means of a row of cells differ, interpolated between them: (1, W, C)."""
    cells = max(1, round(wanted.shape[1] / _COLOUR_CELL))
    means = [
        np.add.reduceat(rows.mean(0), starts[:-1]) / np.diff(starts)[:, None]
        for rows, starts in ((row, _split(row.shape[1], cells)) for row in (block, wanted))
    ]
    return resize((means[1] - means[0])[None].astype(np.float32), 1, block.shape[1], "bilinear")


def _split(size: int, cells: int) -> list[int]:
    """Return where `cells` equal parts of `size` pixels begin, and the end of the last."""
    return [cell * size // cells for cell in range(cells + 1)]


def sharpen(large: Rows, amount: float) -> Rows:
    """Add `amount` times what a Gaussian blur of one pixel removes. Values in [0, 1]."""
    soft = _blur(large, 1)

    def read(start: int, stop: int) -> Pixels:
        blurred = soft.read(start, stop)  # first, as it reads more of `large`, from further above
        sharp = large.read(start, stop)
        raised: Pixels = np.clip(sharp + np.float32(amount) * (sharp - blurred), 0, 1)
        return raised

    return Rows(large.height, large.width, read, large.grey)


def _blur(source: Rows, sigma: float) -> Rows:
    """Blur by a Gaussian, cut off at three standard deviations."""
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-(np.arange(-reach, reach + 1, dtype=np.float32) ** 2) / np.float32(2 * sigma**2))
    kernel /= kernel.sum()
    wide = extend(source, reach)

    def read(start: int, stop: int) -> Pixels:
        block = wide.read(start, stop + 2 * reach)
        down = sum(weight * block[at : at + stop - start] for at, weight in enumerate(kernel))
        blurred: Pixels = sum(weight * down[:, at : at + source.width] for at, weight in enumerate(kernel))
        return blurred

    return Rows(source.height, source.width, read, source.grey)


def add_back_noise(large: Rows, small: Rows, share: float) -> Rows:
    """Add back `share` of what `large` lost of `small`: the noise and blocks that a network removed.

    That is `small` minus `large` downscaled to its size, so finer details than the pixels of `small` stay
    as they are. Values in [0, 1].
    """
    lost = resize_rows(_subtract_reduced(small, large), *large.shape)

    def read(start: int, stop: int) -> Pixels:
        noise = lost.read(start, stop)  # first, as it reads more of `large`, from further above
        noisy: Pixels = np.clip(large.read(start, stop) + np.float32(share) * noise, 0, 1)
        return noisy

    return Rows(large.height, large.width, read, large.grey)


def _subtract_reduced(small: Rows, large: Rows) -> Rows:
    """Return `small` minus `large` downscaled to its size."""
    reduced = resize_rows(large, *small.shape)

    def read(start: int, stop: int) -> Pixels:
        return small.read(start, stop) - reduced.read(start, stop)

    return Rows(small.height, small.width, read)


def blend_back(large: Rows, small: Rows) -> Rows:
    """Mix `large` with the bicubic enlargement of `small` where it shows something else than `small`.

    A network that makes up detail may get small faces wrong. That shows when its result is downscaled: what
    is left of the difference after a blur, which averages noise away, is the distance. Values in [0, 1].
    """
    factor = max(1.0, _NOISE_LEFT * _measure_noise(small))
    detail = _blur(_subtract_reduced(small, large), _DETAIL_SIGMA)
    square = detail.map(lambda band: np.square(band).mean(axis=2, keepdims=True, dtype=np.float32))

    def weigh(band: Pixels) -> Pixels:
        excess = (np.sqrt(band) - np.float32(_NEAR * factor)) / np.float32(_FAR - _NEAR)
        return np.asarray(np.clip(excess, 0, 1), np.float32)

    share = resize_rows(_blur(square, _AREA_SIGMA).map(weigh), *large.shape, "bilinear")
    bicubic = resize_rows(small, *large.shape)

    def read(start: int, stop: int) -> Pixels:
        weight = share.read(start, stop)  # first, as it reads more of `large`, from further above
        block = large.read(start, stop)
        mixed = block + weight * (bicubic.read(start, stop).clip(0, 1) - block)
        return np.asarray(mixed, np.float32)

    return Rows(large.height, large.width, read, large.grey)


def _measure_noise(small: Rows) -> float:
    """Return the noise of an image, in levels of 255; 0 if it is too small to tell."""
    if min(small.shape) < _LEAST_FOR_NOISE:
        return 0
    return estimate_noise(luma(small.read(0, min(small.height, _ROWS_FOR_NOISE))))


def add_grain(large: Rows, small: Rows, amount: float) -> Rows:
    """Add grey noise, `amount` times as strong as that of `small` and as coarse; the same in each run.

    Images too small to measure noise in get none.
    """
    deviation = amount * _measure_noise(small) / 255
    if not deviation:
        return large

    def draw(start: int, stop: int) -> Pixels:
        rows = [np.random.default_rng((0, y)).normal(0, deviation, small.width) for y in range(start, stop)]
        return np.stack(rows).astype(np.float32)[..., None]

    grain = resize_rows(Rows(small.height, small.width, draw), *large.shape)

    def read(start: int, stop: int) -> Pixels:
        grainy: Pixels = np.clip(large.read(start, stop) + grain.read(start, stop), 0, 1)
        return grainy

    return Rows(large.height, large.width, read, large.grey)


def _resize_to(pixels: Pixels, other: Pixels) -> Pixels:
    return resize(pixels, other.shape[0], other.shape[1])
