"""From the samples of a decoded image to those of the enlarged one: a list of stages, rows in and rows out.

This is the only way, whatever the image, the method and the memory. A stage computes rows when the next stage
reads them, so an image can be written while it is made; a stage that needs the whole image reads all of it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce

import numpy as np

from srcli.dataclass import dataclass
from srcli.imaging import rows
from srcli.imaging.alpha import bleed_alpha
from srcli.imaging.codecs.base import Frame
from srcli.imaging.colorspace import decode_srgb, encode_srgb
from srcli.imaging.image import Image, to_image, to_samples, to_values
from srcli.imaging.pixels import Pixels, StoredSamples
from srcli.imaging.rows import Rows
from srcli.imaging.size import Size
from srcli.methods import Method
from srcli.upscaling.postprocess import Postprocess, average_orientations

Stage = Callable[[Rows], Rows]
Change = Callable[[Pixels], Pixels]
# Input pixels that interpolation and untrained methods look at around a pixel, with some to spare.
_INTERPOLATION_REACH = 8
# Rows that are compared at a time to find out whether a colour image is grey.
_BAND = 64


@dataclass(frozen=True)
class _Light:
    """The way from values to linear light and back."""

    decode: Change
    encode: Change


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
        return self._run_periodic(frame) if self.postprocess.wrap else self._run_once(frame)

    def _run_periodic(self, frame: Frame) -> Rows:
        """Enlarge the frame with some of its repetitions around it, and cut these off."""
        (height, width), samples = frame.samples.shape[:2], frame.samples
        reach = self._find_reach((width, height))
        sides = [_find_period(old, new, reach) for old, new in zip((width, height), self.size, strict=True)]
        across, down = sides
        padding = [(down, down), (across, across), *[(0, 0)] * (samples.ndim - 2)]
        size = tuple(
            new + 2 * side * new // old
            for old, new, side in zip((width, height), self.size, sides, strict=True)
        )
        repeated = replace(frame, samples=np.pad(samples, padding, "wrap"))
        inner = replace(self, size=size, postprocess=replace(self.postprocess, wrap=False))
        return rows.crop(inner.run(repeated), self.size[1], self.size[0])

    def _find_reach(self, old: Size) -> int:
        """Return how many input pixels away an input pixel can change the output."""
        reduction = max(1, *(before / after for before, after in zip(old, self.size, strict=True)))
        stages = self.method.stages if self.method else ()
        halos = sum(stage.runtime.info.halo for stage in stages)  # more than enough for a chain
        return halos + _INTERPOLATION_REACH * math.ceil(reduction)

    def _run_once(self, frame: Frame) -> Rows:
        stored = _read_colours(frame)
        colours = _bleed(frame, stored)
        rounded = self._round_on_device(frame, colours)
        if rounded:
            return rounded
        peak = _find_peak(frame, colours)
        # Integers are in [0, 1] already; to clip each pixel of a huge picture takes a third of the time.
        is_within = frame.samples.dtype.kind == "u" and colours is stored
        small = colours if is_within else colours.map(partial(_compress, peak=peak))
        light = _choose_light(frame, peak) if self.postprocess.linear_light else None
        return _run_stages([*self._list_stages(small, peak, light), partial(self._quantise, frame)], small)

    def _list_stages(self, small: Rows, peak: float, light: "_Light | None") -> list[Stage]:
        stages: list[Stage] = [partial(self._enlarge, light=light), partial(Rows.map, change=_clip)]
        if self.method and self.postprocess.is_needed:
            stages.append(partial(self.postprocess.apply, small=small))
        if peak > 1:
            stages.append(partial(Rows.map, change=partial(_expand, peak=peak)))
        if small.grey:
            stages.append(partial(Rows.map, change=_make_grey))
        return stages

    def _enlarge(self, small: Rows, light: "_Light | None") -> Rows:
        width, height = self.size
        if self.method is None:
            out = small
        elif self.postprocess.uncertainty:
            out = average_orientations(self.method, small, self.scale, self.postprocess.uncertainty)
        else:
            out = self.method.to_size(small, (height, width), self.scale)
        if out.shape == (height, width):
            return out
        if light is None:
            return rows.resize_rows(out, height, width)
        return rows.resize_rows(out.map(light.decode), height, width).map(light.encode)

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


def _find_period(old: int, new: int, reach: int) -> int:
    """Return at least `reach` input pixels that become a whole number of pixels if `old` become `new`."""
    step = old // math.gcd(old, new)
    return -(-reach // step) * step


def _choose_light(frame: Frame, peak: float) -> _Light:
    """Return the curve of sRGB for integers; floats are linear light, which is compressed above 1."""
    if frame.samples.dtype == np.float32:
        return _Light(partial(_expand, peak=peak), partial(_compress, peak=peak)) if peak > 1 else _LINEAR
    return _Light(_decode_srgb, _encode_srgb)


def _decode_srgb(band: Pixels) -> Pixels:
    return np.asarray(decode_srgb(_clip(band)), np.float32)


def _encode_srgb(band: Pixels) -> Pixels:
    return np.asarray(encode_srgb(_clip(band)), np.float32)


def _run_stages(stages: list[Stage], source: Rows) -> Rows:
    return reduce(lambda out, stage: stage(out), stages, source)


def _slice(frame: Frame, start: int, stop: int) -> Image:
    return to_image(replace(frame, samples=frame.samples[start:stop]))


def _read_colours(frame: Frame) -> Rows:
    height, width = frame.samples.shape[:2]
    grey = _is_grey(frame.samples)
    return Rows(height, width, lambda start, stop: _slice(frame, start, stop).pixels, grey)


def _read_alpha(frame: Frame) -> Rows:
    height, width = frame.samples.shape[:2]
    return Rows(height, width, lambda start, stop: to_values(frame.samples[start:stop, :, -1:]))


def _is_grey(samples: StoredSamples) -> bool:
    if samples.ndim == 2 or samples.shape[2] < 3:
        return True
    bands = (samples[top : top + _BAND] for top in range(0, len(samples), _BAND))
    return all((band[..., :1] == band[..., 1:3]).all() for band in bands)


def _bleed(frame: Frame, colours: Rows) -> Rows:
    """Spread colours under what is fully transparent, if anything is."""
    return bleed_alpha(colours, _read_alpha(frame)) if frame.has_alpha else colours


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


_LINEAR = _Light(_clip, _clip)


def _make_grey(band: Pixels) -> Pixels:
    """Make the channels equal to the bit; a network for colours need not return equal ones."""
    return np.repeat(band.mean(axis=2, keepdims=True), 3, axis=2)
