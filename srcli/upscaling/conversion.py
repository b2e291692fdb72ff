"""Arrays and PIL images as frames, and back as the kind that they came as."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srcli.errors import ImageError
from srcli.imaging.codecs.base import Frame
from srcli.imaging.pixels import StoredSamples

if TYPE_CHECKING:
    from PIL import Image as PilImage

Array = NDArray[Any]
_DEPTHS = {"uint8": 8, "uint16": 16}
# Modes of PIL that are kept; I;16 has 16 bits, the others 8.
_KEPT_MODES = ("L", "LA", "RGB", "RGBA", "I;16")


def read_array(array: Array) -> Frame:
    """Return an array (H, W) or (H, W, 1..4) as a frame; the channels are grey, RGB, and alpha last.

    uint8 and uint16 use their whole range; floats are in [0, 1], or above for light beyond white. Raises
    `ImageError` for anything else.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise ImageError(f"an array of shape {array.shape} is not an image", "pass (H, W) or (H, W, 1 to 4)")
    if array.size == 0:
        raise ImageError(f"an array of shape {array.shape} has no pixels", "pass at least one pixel")
    samples: StoredSamples = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype.name in _DEPTHS:
        return Frame(np.ascontiguousarray(samples), _DEPTHS[array.dtype.name])
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"an array of {array.dtype} is not an image", "pass uint8, uint16 or floats")
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise ImageError(
            "the array contains NaN or infinity", "replace them, for example with numpy.nan_to_num"
        )
    return Frame(samples, 32)


def write_array(samples: StoredSamples, original: Array) -> Array:
    """Return samples as an array with the type and number of dimensions of `original`."""
    shaped = samples[..., None] if samples.ndim < original.ndim else samples
    return shaped.astype(original.dtype, copy=False)


def read_picture(picture: Any) -> Frame:
    """Return a PIL image as a frame. Raises `ImageError` for anything else, and for 32-bit samples.

    Modes other than grey and RGB, with alpha or without, are converted: one bit to L, palettes, CMYK and
    others to RGB or RGBA.
    """
    from PIL import Image as PilImage

    if not isinstance(picture, PilImage.Image):
        kind = type(picture).__name__
        raise ImageError(f"{kind} is not an image", "pass a path, a PIL image or a NumPy array")
    if picture.mode in ("I", "F"):
        hint = "pass an array of uint16, or of floats in [0, 1]"
        raise ImageError(f"PIL images of mode {picture.mode} have no fixed range", hint)
    if 0 in picture.size:
        raise ImageError("the PIL image has no pixels", "pass at least one pixel")
    if picture.has_transparency_data and picture.mode not in ("LA", "RGBA"):
        picture = picture.convert("LA" if picture.mode in ("1", "L") else "RGBA")
    elif picture.mode not in _KEPT_MODES:
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    samples = np.asarray(picture)
    return Frame(samples, _DEPTHS[samples.dtype.name])


def write_picture(samples: StoredSamples, original: "PilImage.Image") -> "PilImage.Image":
    """Return samples as a PIL image with the metadata of `original`."""
    from PIL import Image as PilImage

    picture = PilImage.fromarray(np.ascontiguousarray(samples))
    picture.info = {key: value for key, value in original.info.items() if key != "transparency"}
    return picture
