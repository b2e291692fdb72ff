"""From the samples of a decoded image to those of the enlarged one: a list of stages, rows in and rows out.

This is the only way, whatever the image, the method and the memory. A stage computes rows when the next stage
reads them, so an image can be written while it is made; a stage that needs the whole image reads all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, reduce

import numpy as np

from srcli.imaging import rows
from srcli.imaging.alpha import bleed_alpha
from srcli.imaging.codecs.base import Frame
from srcli.imaging.image import Image, to_image, to_samples
from srcli.imaging.pixels import Pixels, StoredSamples
from srcli.imaging.rows import Rows
from srcli.imaging.size import Size
from srcli.methods import Method
from srcli.upscaling.postprocess import Postprocess, average_orientations

Stage = Callable[[Rows], Rows]
# Rows that are compared at a time to find out whether a colour image is grey.
_BAND = 64


@dataclass(frozen=True)
class Pipeline:
    """Stages that bring a frame to `size` (width, height): by `method`, or bicubic alone if None.

    `scale` is the scale passed to the method, `depth` the bit depth of the result.
    """

    method: Method | None
    scale: float
    size: Size
    postprocess: Postprocess = Postprocess()
    depth: int = 8

    def run(self, frame: Frame) -> Rows:
        """Return the samples of the enlarged frame: bands of (rows, width) or (rows, width, 2..4)."""
        colours = _bleed(frame, _read_colours(frame))
        rounded = self._round_on_device(frame, colours)
        if rounded:
            return rounded
        peak = _find_peak(frame, colours)
        small = colours.map(partial(_compress, peak=peak))
        return _run_stages([*self._list_stages(small, peak), partial(self._quantise, frame)], small)

    def _list_stages(self, small: Rows, peak: float) -> list[Stage]:
        stages: list[Stage] = [self._enlarge, partial(Rows.map, change=_clip)]
        if self.method and self.postprocess.is_needed:
            stages.append(partial(self.postprocess.apply, small=small))
        if peak > 1:
            stages.append(partial(Rows.map, change=partial(_expand, peak=peak)))
        if small.grey:
            stages.append(partial(Rows.map, change=_make_grey))
        return stages

    def _enlarge(self, small: Rows) -> Rows:
        width, height = self.size
        if self.method is None:
            out = small
        elif self.postprocess.uncertainty:
            out = average_orientations(self.method, small, self.scale, self.postprocess.uncertainty)
        else:
            out = self.method.to_size(small, (height, width), self.scale)
        return out if out.shape == (height, width) else rows.resize_rows(out, height, width)

    def _quantise(self, frame: Frame, large: Rows) -> Rows:
        """Join colours and alpha, rounded to `depth` bits."""
        alpha = rows.resize_rows(_read_alpha(frame), *large.shape) if frame.has_alpha else None
        is_grey = frame.samples.ndim == 2 or frame.samples.shape[2] < 3

        def read(start: int, stop: int) -> StoredSamples:
            plane = _clip(alpha.read(start, stop)[..., 0]) if alpha else None
            return to_samples(Image(large.read(start, stop), plane, grey=is_grey), self.depth)

        return Rows(large.height, large.width, read)  # type: ignore[arg-type]

    def _round_on_device(self, frame: Frame, colours: Rows) -> Rows | None:
        """Return the samples as they leave the network if they need nothing but rounding, else None."""
        samples = frame.samples
        is_plain = samples.ndim == 3 and samples.shape[2] == 3 and samples.dtype != np.float32
        if not (self.method and is_plain and self.depth == 8) or colours.grey or self.postprocess.is_needed:
            return None
        width, height = self.size
        return self.method.as_uint8(colours, (height, width))


def _run_stages(stages: list[Stage], source: Rows) -> Rows:
    return reduce(lambda out, stage: stage(out), stages, source)


def _slice(frame: Frame, start: int, stop: int) -> Image:
    return to_image(replace(frame, samples=frame.samples[start:stop]))


def _read_colours(frame: Frame) -> Rows:
    height, width = frame.samples.shape[:2]
    grey = _is_grey(frame.samples)
    return Rows(height, width, lambda start, stop: _slice(frame, start, stop).pixels, grey)


def _read_alpha(frame: Frame) -> Rows:
    def read(start: int, stop: int) -> Pixels:
        plane = _slice(frame, start, stop).alpha
        assert plane is not None
        return plane[..., None]

    height, width = frame.samples.shape[:2]
    return Rows(height, width, read)


def _is_grey(samples: StoredSamples) -> bool:
    if samples.ndim == 2 or samples.shape[2] < 3:
        return True
    bands = (samples[top : top + _BAND] for top in range(0, len(samples), _BAND))
    return all((band[..., :1] == band[..., 1:3]).all() for band in bands)


def _bleed(frame: Frame, colours: Rows) -> Rows:
    """Spread colours under what is fully transparent, if anything is; that takes the whole image."""
    if not frame.has_alpha or (frame.samples[..., -1] > 0).all():
        return colours
    image = to_image(frame)
    assert image.alpha is not None
    return rows.of(bleed_alpha(image.pixels, image.alpha))


def _find_peak(frame: Frame, colours: Rows) -> float:
    """Return the largest value; only floats can be above 1."""
    return max(float(band.max()) for band in colours.bands()) if frame.samples.dtype == np.float32 else 1


def _compress(band: Pixels, peak: float) -> Pixels:
    """Bring values into [0, 1]; a range beyond 1 by log(1 + x), so that dark tones keep their share of it."""
    if peak <= 1:
        return _clip(band)
    return np.asarray(np.log1p(np.maximum(band, 0)) / np.log1p(np.float32(peak)))


def _expand(band: Pixels, peak: float) -> Pixels:
    """Undo `_compress`."""
    return np.asarray(np.expm1(band * np.log1p(np.float32(peak))))


def _clip(band: Pixels) -> Pixels:
    return np.clip(band, 0, 1)


def _make_grey(band: Pixels) -> Pixels:
    """Make the channels equal to the bit; a network for colours need not return equal ones."""
    return np.repeat(band.mean(axis=2, keepdims=True), 3, axis=2)
