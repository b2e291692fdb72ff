"""OpenCV's codecs, for what Pillow reads with 8 bits or not at all; channels as RGB, nothing printed."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from srcli.imaging.pixels import StoredSamples

# The errors come back as errors; OpenCV would print them too. Read when it is first loaded.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")


def decode(path: Path) -> StoredSamples:
    """(H, W) or (H, W, 3..4) as stored. Raises `ValueError` for what cannot be decoded."""
    return decode_page(path, None)


def decode_page(path: Path, page: int | None) -> StoredSamples:
    """`decode` for one page of a TIFF, upright; of other files the only one, as it lies."""
    import cv2

    # IMREAD_UNCHANGED ignores the orientation tag; it is applied for every format alike.
    data = np.fromfile(path, np.uint8)
    found: Any
    try:
        if page is None:
            found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        else:
            done, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
            found = pages[0] if done else None
    except cv2.error as error:
        raise ValueError(f"it cannot be decoded: {error.err}") from error
    if found is None:
        raise ValueError("it cannot be decoded")
    return _swap_red_blue(found)


def encode(samples: StoredSamples, suffix: str) -> bytes:
    """A file of the format that `suffix` stands for. Raises `ValueError` where it can't hold the samples."""
    import cv2

    swapped: Any = _swap_red_blue(samples)
    try:
        done, data = cv2.imencode(suffix, swapped)
    except cv2.error as error:
        raise ValueError(str(error.err)) from error
    if not done:
        raise ValueError(f"no such samples in {suffix}")
    return data.tobytes()


def _swap_red_blue(samples: StoredSamples) -> StoredSamples:
    """RGB(A) to OpenCV's BGR(A) or back; one channel stays."""
    if samples.ndim == 2:
        return samples
    return np.ascontiguousarray(samples[..., [2, 1, 0, *range(3, samples.shape[2])]])
