"""OpenEXR, through the package of that name where it is installed: linear light as floats. https://openexr.com

Files hold colours multiplied by alpha; frames hold them as they are without.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from srcli.imaging.codecs.base import FloatCodec, UnsupportedImageError
from srcli.imaging.pixels import StoredSamples
from srcli.storage.silence import silence_prints, silence_stderr


class ExrCodec(FloatCodec):
    """OpenEXR."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """Read (width, height) of the data window. Raises `ValueError` or `RuntimeError` if damaged."""
        import OpenEXR

        with silence_stderr(), silence_prints(), OpenEXR.File(str(path), header_only=True) as file:
            (left, top), (right, bottom) = file.header()["dataWindow"]
        return int(right) - int(left) + 1, int(bottom) - int(top) + 1

    def read_samples(self, path: Path) -> StoredSamples:
        """Decode R, G, B or Y, and A, of the first part: (H, W) or (H, W, 2..4) float32.

        Raises `ValueError` or `RuntimeError` if damaged, `UnsupportedImageError` without such channels.
        """
        import OpenEXR

        with silence_stderr(), silence_prints(), OpenEXR.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            planes = [_read_plane(channels[name]) for name in _choose_channels(list(channels))]
        if len(planes) in (2, 4):
            planes = [*_divide_by_alpha(planes[:-1], planes[-1]), planes[-1]]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=2)

    def write_samples(self, file: BinaryIO, samples: StoredSamples) -> None:
        """Encode (H, W) or (H, W, 2..4). Raises `RuntimeError` or `ValueError` if that fails."""
        import OpenEXR

        planes = samples[..., None] if samples.ndim == 2 else samples
        names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[planes.shape[2]]
        alpha = planes[..., -1:] if names.endswith("A") else np.float32(1)
        stored = {name: np.ascontiguousarray((planes * alpha)[..., k]) for k, name in enumerate(names)}
        if names.endswith("A"):
            stored["A"] = np.ascontiguousarray(planes[..., -1])
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with silence_stderr(), silence_prints(), OpenEXR.File(header, stored) as output:
            output.write(str(file.name))  # the library writes to paths only


def _choose_channels(names: list[str]) -> list[str]:
    """Return the channels of the picture; the layer they are in has a name in files of Blender and others."""
    if {"RY", "BY"} <= {name.rpartition(".")[2] for name in names}:
        raise UnsupportedImageError("its colours are luminance and chroma", "convert it to RGB")
    for last in ("RGB", "Y"):
        layers = [name.removesuffix(last[0]) for name in names if name.endswith(last[0])]
        for layer in sorted(layers, key=len):
            colours = [layer + letter for letter in last]
            if set(colours) <= set(names) and (not layer or layer.endswith(".")):
                return colours + [layer + "A"] * (layer + "A" in names)
    raise UnsupportedImageError(
        f"it has no R, G and B and no Y, but {', '.join(names)[:60] or 'nothing'}",
        "choose a layer in its program",
    )


def _read_plane(channel: Any) -> StoredSamples:
    values = np.asarray(channel.pixels)
    if (channel.xSampling, channel.ySampling) != (1, 1):
        raise UnsupportedImageError("its chroma is subsampled", "convert it to RGB")
    if values.dtype.kind != "f" or values.ndim != 2:
        raise UnsupportedImageError("its samples are not floating-point numbers", "convert it to half floats")
    return values.astype(np.float32)


def _divide_by_alpha(colours: list[StoredSamples], alpha: StoredSamples) -> list[StoredSamples]:
    divisor = np.where(alpha > 0, alpha, 1)
    return [np.asarray(plane / divisor, np.float32) for plane in colours]


CODEC = ExrCodec(
    name="EXR",
    suffixes=(".exr",),
    signatures=(b"\x76\x2f\x31\x01",),
    depths=(32,),
    channels=(1, 2, 3, 4),
    extra="exr",
    package="OpenEXR",
)
