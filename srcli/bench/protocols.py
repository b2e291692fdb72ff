"""Named protocols: how low resolution is made, what is compared, and what bicubic has to score."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from srcli.errors import ImageError, UsageError
from srcli.imaging.degrade.degradations import (
    Degradation,
    degrade_image,
    downscale_bicubic,
    parse_degradation,
)
from srcli.imaging.pixels import Pixels, crop_to_multiple, from_uint8, to_uint8

Reduce = Callable[[Pixels, float], Pixels]
TOLERANCE = 0.02


def pillow_lr(hr: Pixels, scale: float) -> Pixels:
    """Pillow's bicubic reduction of `hr`, cropped to a multiple of `scale` first; 8-bit levels."""
    even = crop_to_multiple(hr, scale)
    if 0 in even.shape:
        size = f"{hr.shape[1]}x{hr.shape[0]}"
        raise ImageError(f"an image of {size} cannot be reduced by {scale}", "take a larger one")
    width, height = round(even.shape[1] / scale), round(even.shape[0] / scale)
    small = Image.fromarray(to_uint8(even)).resize((width, height), Image.Resampling.BICUBIC)
    return from_uint8(np.asarray(small))


@dataclass(frozen=True)
class Protocol:
    """A way to measure that has a name.

    `metrics` are shown, the first decides. The first of them has to be `samples` for bicubic on the bundled
    samples, and `set5` on Set5, at the scales that they name; dB.
    """

    name: str
    about: str
    reduce: Reduce
    metrics: tuple[str, ...]
    samples: Mapping[float, float]
    set5: Mapping[float, float]


# Set5 by y-crop: the published rows. The others: measured by the code that reproduces Set5's files and rows.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "y-crop",
            "MATLAB's bicubic for 8 bits; luma without a border of SCALE pixels; the papers' way",
            downscale_bicubic,
            ("psnr-y", "ssim-y"),
            {2: 31.860, 3: 29.410, 4: 27.942},
            {2: 33.673, 3: 30.403, 4: 28.429},
        ),
        Protocol(
            "rgb-crop",
            "as y-crop, but all three channels compared",
            downscale_bicubic,
            ("psnr-rgb", "ssim-rgb"),
            {2: 30.740, 3: 28.302, 4: 26.837},
            {2: 31.787, 3: 28.624, 4: 26.692},
        ),
        Protocol(
            "pil",
            "as y-crop, but reduced by Pillow's bicubic: not comparable with papers",
            pillow_lr,
            ("psnr-y", "ssim-y"),
            {2: 31.859, 3: 29.410, 4: 27.942},
            {2: 33.674, 3: 30.403, 4: 28.430},
        ),
    )
}


def find(name: str) -> Protocol:
    """The protocol of that name. Raises `UsageError` for others."""
    if name not in PROTOCOLS:
        told = "; ".join(f"{protocol.name}: {protocol.about}" for protocol in PROTOCOLS.values())
        raise UsageError(f"no protocol called '{name}'", told)
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Reduction:
    """How low resolution is made: by the protocol, or by a degradation, seeded.

    `degrade` as `--degrade` takes it, "" for the protocol's own.
    """

    protocol: Protocol
    degrade: str = ""
    seed: int = 0

    def check(self, scales: Iterable[float] = ()) -> None:
        """Raise `UsageError` or `ImageError` for a degradation that there is not, or not at these scales."""
        if not self.degrade:
            return
        parse_degradation(self.degrade)
        for scale in scales:
            if scale != int(scale):
                raise UsageError(f"'{self.degrade}' reduces by whole scales, not by {scale:g}", "change -x")

    @property
    def label(self) -> str:
        """What tables say of it."""
        return (
            f"{self.protocol.name}, {self.degrade}, seed {self.seed}" if self.degrade else self.protocol.name
        )

    @property
    def identity(self) -> str:
        """What makes it different from others: of a kernel file, what is in it."""
        return f"{self.label} {parse_degradation(self.degrade)}" if self.degrade else self.label

    def of(self, image: str, scale: float) -> Callable[[Pixels], Pixels]:
        """HR -> LR for the image of that name; all randomness follows from seed, name and scale."""
        if not self.degrade:
            return partial(_by, self.protocol.reduce, scale)
        return partial(_degraded, parse_degradation(self.degrade), f"{self.seed} {scale} {image}", scale)


Y_CROP = Reduction(PROTOCOLS["y-crop"])


def _by(reduce: Reduce, scale: float, hr: Pixels) -> Pixels:
    return reduce(hr, scale)


def _degraded(degradation: Degradation, key: str, scale: float, hr: Pixels) -> Pixels:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return degrade_image(hr, int(scale), degradation, np.random.default_rng(seed))
