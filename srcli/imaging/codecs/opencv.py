"""OpenCV's decoders and encoders, for files that Pillow reads with 8 bits or not at all; channels are RGB."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srcli.imaging.codecs.base import UnsupportedImageError
from srcli.imaging.pixels import StoredSamples


def import_cv2() -> Any:
    """Return the module. Raises `UnsupportedImageError` if it is not installed.

    Errors are raised, so OpenCV need not print them too; others may have imported it before.
    """
    try:
        import cv2
    except ImportError as error:
        raise UnsupportedImageError("its samples need OpenCV", "pip install 'sr-cli[opencv]'") from error
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def decode(path: Path) -> StoredSamples:
    """Decode (H, W) or (H, W, 3..4) as stored. Raises `ValueError` if that fails."""
    return decode_bytes(path.read_bytes())


def decode_bytes(data: bytes) -> StoredSamples:
    """Decode the content of a file, as `decode` does."""
    cv2 = import_cv2()

    # IMREAD_UNCHANGED ignores the orientation tag, which is applied to every format alike.
    buffer = np.frombuffer(data, np.uint8)
    return _finish(lambda: cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED))


def decode_page(path: Path, page: int) -> StoredSamples:
    """Decode one page of a TIFF, turned upright. Raises `ValueError` if that fails."""
    cv2 = import_cv2()

    def decode() -> Any:
        done, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, None, (page, page + 1))
        return pages[0] if done else None

    data = np.fromfile(path, np.uint8)
    return _finish(decode)


def _finish(decode: Callable[[], Any]) -> StoredSamples:
    cv2 = import_cv2()

    try:
        samples = decode()
    except cv2.error as error:
        raise ValueError(f"it cannot be decoded: {error.err}") from error
    if samples is None:
        raise ValueError("it cannot be decoded")
    return _swap_red_blue(samples)


def check_16bit(samples: StoredSamples, size: tuple[int, int]) -> StoredSamples:
    """Return the samples; raise `ValueError` unless they are uint16 of `size` (width, height)."""
    if samples.dtype != np.uint16 or samples.shape[1::-1] != size:
        raise ValueError("16-bit data cannot be decoded")
    return samples


def encode(samples: StoredSamples, suffix: str, options: Sequence[int] = ()) -> bytes:
    """Encode as the format that `suffix` stands for; `options` are pairs of a flag and its value.

    Raises `ValueError` if it cannot hold the samples.
    """
    cv2 = import_cv2()

    swapped: Any = _swap_red_blue(samples)
    try:
        done, data = cv2.imencode(suffix, swapped, options)
    except cv2.error as error:
        raise ValueError(str(error.err)) from error
    if not done:
        raise ValueError(f"no such samples in {suffix}")
    return bytes(data)


def _swap_red_blue(samples: StoredSamples) -> StoredSamples:
    """Reorder RGB(A) to OpenCV's BGR(A) or back; one channel stays."""
    if samples.ndim == 2:
        return samples
    return np.ascontiguousarray(samples[..., [2, 1, 0, *range(3, samples.shape[2])]])
