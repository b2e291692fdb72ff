"""The EXIF orientation tag: frames are turned upright when they are read, and their metadata says so."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from srcli.imaging.codecs.base import Frame
from srcli.imaging.metadata.fields import scale_metadata
from srcli.imaging.pixels import StoredSamples

# What turns stored samples upright, by the tag. CIPA DC-008 (Exif 2.32), section 4.6.4.
UPRIGHT: dict[int, Callable[[StoredSamples], StoredSamples]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
TRANSPOSED = (5, 6, 7, 8)


def turn_upright(frame: Frame, orientation: int, is_upright: bool = False) -> Frame:
    """Turn the samples, unless the decoder did (`is_upright`), and reset the orientation in the metadata."""
    turn = UPRIGHT.get(orientation)
    if turn is None:
        return frame
    samples = frame.samples if is_upright else np.ascontiguousarray(turn(frame.samples))
    metadata, size = frame.metadata, (samples.shape[1], samples.shape[0])
    if metadata.dpi and orientation in TRANSPOSED:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    return replace(frame, samples=samples, metadata=scale_metadata(metadata, size, size))
