"""From a high-resolution image to the low-resolution one that a method is asked to enlarge."""

from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.imaging.resize import resize_8bit


def bicubic_lr(hr: Pixels, scale: int) -> Pixels:
    """MATLAB's 8-bit bicubic reduction of `hr`, cropped to a multiple of `scale` first."""
    even = crop_to_multiple(hr, scale)
    return resize_8bit(even, even.shape[0] // scale, even.shape[1] // scale)
