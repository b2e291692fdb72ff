"""An image enlarged with only some of its rows in memory, for those that are too large as a whole."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from srcli.imaging import rows
from srcli.imaging.alpha import bleed_alpha
from srcli.imaging.codecs.base import Frame
from srcli.imaging.image import Image, to_image, to_samples
from srcli.imaging.pixels import Pixels, Plane, StoredSamples
from srcli.imaging.rows import Rows
from srcli.imaging.size import Size
from srcli.methods import Method

# Pixels of an output from which on it is streamed where nothing is said: as floats it would take 50 MB, and
# several times that while it is worked on.
LARGE = 2**22


@dataclass(frozen=True)
class Aim:
    """What is to be made: `size` as (width, height) by `scale`; `strength` as in `Finish`; `depth` in bits.

    The image is only brought to that size where there is no `method`.
    """

    method: Method | None
    scale: float
    size: Size
    strength: float
    depth: int


def shape(stored: Frame, size: Size) -> tuple[int, ...]:
    """Of the samples that `bands` will give: (H, W) or (H, W, 2..4)."""
    return (size[1], size[0], *stored.samples.shape[2:])


def bands(stored: Frame, aim: Aim) -> Iterator[StoredSamples]:
    """The rows of the enlarged image from the top: what `enlarge` and `to_stored` give, to the bit."""
    width, height = aim.size
    made = _in_bytes(stored, aim)
    if made:
        yield from made.bands()
        return
    alpha = _alpha(stored, height, width)
    grey = stored.samples.ndim == 2 or stored.samples.shape[2] < 3
    top = 0
    for pixels in _enlarged(_source(stored), aim).bands():
        plane = alpha.read(top, top + len(pixels)) if alpha else None
        yield to_samples(Image(pixels, _as_plane(plane), grey=grey), aim.depth)
        top += len(pixels)


def _in_bytes(stored: Frame, aim: Aim) -> Rows | None:
    """The samples as they come from where the network runs, if nothing is done to them after it."""
    plain = stored.samples.ndim == 3 and stored.samples.shape[2] == 3 and stored.samples.dtype != np.float32
    if not (plain and aim.depth == 8 and aim.strength >= 1 and aim.method and aim.method.as_uint8):
        return None
    source = _source(stored)
    made = None if source.grey else aim.method.as_uint8(source, aim.scale)
    return made if made and made.shape == aim.size[::-1] else None


def _as_plane(band: Pixels | None) -> Plane | None:
    return None if band is None else np.clip(band[..., 0], 0, 1)


def _alpha(stored: Frame, height: int, width: int) -> Rows | None:
    plane = to_image(_part(stored, 0, 1)).alpha
    if plane is None:
        return None
    old_height, old_width = stored.samples.shape[:2]

    def read(start: int, stop: int) -> Pixels:
        found = to_image(_part(stored, start, stop)).alpha
        assert found is not None
        return found[..., None]

    return rows.resize_rows(Rows(old_height, old_width, read), height, width)


def _part(stored: Frame, start: int, stop: int) -> Frame:
    return replace(stored, samples=stored.samples[start:stop])


def _source(stored: Frame) -> Rows:
    """Colours as they go into the method; those under what is fully transparent need the image as a whole."""
    samples = stored.samples
    transparent = samples.ndim == 3 and samples.shape[2] in (2, 4) and bool((samples[..., -1] <= 0).any())
    if transparent:
        image = to_image(stored)
        assert image.alpha is not None
        return rows.of(bleed_alpha(image.pixels, image.alpha))
    height, width = samples.shape[:2]
    return Rows(
        height, width, lambda start, stop: to_image(_part(stored, start, stop)).pixels, _is_grey(samples)
    )


def _is_grey(samples: StoredSamples) -> bool:
    if samples.ndim == 2 or samples.shape[2] < 3:
        return True
    parts = (samples[top : top + 64] for top in range(0, len(samples), 64))
    return all((part[..., :1] == part[..., 1:3]).all() for part in parts)


def _enlarged(source: Rows, aim: Aim) -> Rows:
    """Values in [0, 1], or those of a float image, at the size that is wanted."""
    peak = max(float(band.max()) for band in source.bands())
    if peak <= 1:
        out = _at_size(source.map(lambda band: np.clip(band, 0, 1)), aim)
    else:
        top = np.log1p(np.float32(peak))
        dark = _at_size(source.map(lambda band: np.log1p(np.maximum(band, 0)) / top), aim)
        out = dark.map(lambda band: np.expm1(band * top))
    return out.map(_to_the_bit) if source.grey else out


def _to_the_bit(band: Pixels) -> Pixels:
    return np.repeat(band.mean(axis=2, keepdims=True), 3, axis=2)


def _at_size(source: Rows, aim: Aim) -> Rows:
    width, height = aim.size
    out = _grown(source, aim)
    if out.shape != (height, width):
        out = rows.resize_rows(out, height, width)
    out = out.map(lambda band: np.clip(band, 0, 1))
    return _blended(out, source, aim.strength) if aim.method and aim.strength < 1 else out


def _grown(source: Rows, aim: Aim) -> Rows:
    width, height = aim.size
    if aim.method and aim.method.to_size and height >= source.height and width >= source.width:
        return aim.method.to_size(source, (height, width))
    return aim.method.stream(source, aim.scale) if aim.method and aim.method.stream else source


def _blended(large: Rows, small: Rows, strength: float) -> Rows:
    """`imaging.finish.blended`."""
    bicubic = rows.resize_rows(small, *large.shape)

    def read(start: int, stop: int) -> Pixels:
        plain: Pixels = bicubic.read(start, stop).clip(0, 1)
        return large.read(start, stop) * np.float32(strength) + plain * np.float32(1 - strength)

    return Rows(large.height, large.width, read, large.grey)
