"""OpenEXR, by the package of that name where it is installed: linear light as floats. https://openexr.com

The colours of a file are multiplied by its alpha; here they are not.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from srcli.errors import ImageError
from srcli.imaging.pixels import StoredSamples

SIGNATURE = b"\x76\x2f\x31\x01"


def check(path: Path) -> None:
    """Raise `ImageError` where nothing here can read it."""
    if find_spec("OpenEXR") is None:
        raise ImageError(f"reading {path} needs OpenEXR", "pip install 'sr-cli[exr]'")


def size(path: Path) -> tuple[int, int]:
    """Width and height of what is stored. Raises `ValueError` or `RuntimeError` for damaged headers."""
    import OpenEXR

    with _silent(), OpenEXR.File(str(path), header_only=True) as file:
        (left, top), (right, bottom) = file.header()["dataWindow"]
    return int(right) - int(left) + 1, int(bottom) - int(top) + 1


def read(path: Path) -> StoredSamples:
    """(H, W) or (H, W, 2..4) float32 of the first part: R, G, B or Y, and A; other channels are left out.

    Raises `ValueError` or `RuntimeError` for what is damaged or has no such channels.
    """
    import OpenEXR

    with _silent(), OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.channels()
        planes = [_plane(channels[name]) for name in _wanted(list(channels))]
    if len(planes) in (2, 4):
        planes = [*_straight(planes[:-1], planes[-1]), planes[-1]]
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=2)


def _wanted(names: list[str]) -> list[str]:
    """The channels of the picture, whose layer has a name in what Blender and others write."""
    for last in ("RGB", "Y"):
        layers = [name.removesuffix(last[0]) for name in names if name.endswith(last[0])]
        for layer in sorted(layers, key=len):
            colours = [layer + letter for letter in last]
            if set(colours) <= set(names) and (not layer or layer.endswith(".")):
                return colours + [layer + "A"] * (layer + "A" in names)
    raise ValueError(f"it has no R, G and B and no Y, but {', '.join(names)[:60] or 'nothing'}")


def _plane(channel: Any) -> StoredSamples:
    values = np.asarray(channel.pixels)
    if (channel.xSampling, channel.ySampling) != (1, 1):
        raise ValueError("its colours have fewer pixels than its light")
    if values.dtype.kind != "f" or values.ndim != 2:
        raise ValueError("its samples are not floating-point numbers")
    return values.astype(np.float32)


def _straight(colours: list[StoredSamples], alpha: StoredSamples) -> list[StoredSamples]:
    divisor = np.where(alpha > 0, alpha, 1)
    return [np.asarray(plane / divisor, np.float32) for plane in colours]


def write(path: Path, samples: StoredSamples) -> None:
    """Samples (H, W) or (H, W, 2..4) as floats. Raises `RuntimeError` or `ValueError` where that fails."""
    import OpenEXR

    planes = samples[..., None] if samples.ndim == 2 else samples
    names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[planes.shape[2]]
    alpha = planes[..., -1:] if names.endswith("A") else np.float32(1)
    stored = {name: np.ascontiguousarray((planes * alpha)[..., k]) for k, name in enumerate(names)}
    if names.endswith("A"):
        stored["A"] = np.ascontiguousarray(planes[..., -1])
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with _silent(), OpenEXR.File(header, stored) as file:
        file.write(str(path))


@contextmanager
def _silent() -> Iterator[None]:
    """What the library prints, by Python and past it, comes as an error too; stdout may be an image."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        for number, handle in zip((1, 2), kept, strict=True):
            os.dup2(handle, number)
            os.close(handle)
        os.close(nowhere)
