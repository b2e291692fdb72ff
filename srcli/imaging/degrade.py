"""From a high-resolution image to the low-resolution one that a method is asked to enlarge."""

from srcli.errors import ImageError
from srcli.imaging.pixels import Pixels, crop_to_multiple
from srcli.imaging.resize import resize_8bit


def bicubic_lr(hr: Pixels, scale: int) -> Pixels:
    """MATLAB's 8-bit bicubic reduction of `hr`, cropped to a multiple of `scale` first.

    Raises `ImageError` where nothing would be left.
    """
    even = crop_to_multiple(hr, scale)
    if 0 in even.shape:
        size = f"{hr.shape[1]}x{hr.shape[0]}"
        raise ImageError(f"an image of {size} cannot be reduced by {scale}", "take a larger one")
    return resize_8bit(even, even.shape[0] // scale, even.shape[1] // scale)
