"""Crops of a photograph that ships with the tool, to try networks on."""

from pathlib import Path

from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels

_PHOTO = Path(__file__).parents[1] / "samples" / "chelsea.png"


def crop_photo(height: int, width: int, channels: int = 3) -> Pixels:
    """Return (H, W, C) of the photograph; luma if `channels` is 1."""
    pixels = read_image(_PHOTO).pixels[80 : 80 + height, 140 : 140 + width]
    return pixels if channels == 3 else luma(pixels)[..., None]
