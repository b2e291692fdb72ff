"""Evaluation protocols: how low resolution is made, what is compared, and what bicubic must score."""

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
TOLERANCE = 0.02  # dB


def downscale_pillow(hr: Pixels, scale: float) -> Pixels:
    """Crop `hr` to a multiple of `scale` and downscale it with Pillow's bicubic filter, to 8-bit levels."""
    even = crop_to_multiple(hr, scale)
    if 0 in even.shape:
        size = f"{hr.shape[1]}x{hr.shape[0]}"
        raise ImageError(f"an image of {size} is too small to downscale by {scale}", "use a larger image")
    width, height = round(even.shape[1] / scale), round(even.shape[0] / scale)
    small = Image.fromarray(to_uint8(even)).resize((width, height), Image.Resampling.BICUBIC)
    return from_uint8(np.asarray(small))


@dataclass(frozen=True)
class Protocol:
    """A named way to measure.

    `metrics` are shown; the first one decides. Its mean for bicubic must be `samples` on the bundled samples
    and `set5` on Set5, in dB by scale.
    """

    name: str
    description: str
    reduce: Reduce
    metrics: tuple[str, ...]
    samples: Mapping[float, float]
    set5: Mapping[float, float]


# Set5 by y-crop: the published rows. The others were measured by the code that reproduces those rows.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "y-crop",
            "MATLAB's bicubic in 8 bits; luma without a border of SCALE pixels, as in papers",
            downscale_bicubic,
            ("psnr-y", "ssim-y"),
            {2: 31.860, 3: 29.410, 4: 27.942},
            {2: 33.673, 3: 30.403, 4: 28.429},
        ),
        Protocol(
            "rgb-crop",
            "like y-crop, but on all three channels",
            downscale_bicubic,
            ("psnr-rgb", "ssim-rgb"),
            {2: 30.740, 3: 28.302, 4: 26.837},
            {2: 31.787, 3: 28.624, 4: 26.692},
        ),
        Protocol(
            "pil",
            "like y-crop, but with Pillow's bicubic: not comparable with papers",
            downscale_pillow,
            ("psnr-y", "ssim-y"),
            {2: 31.859, 3: 29.410, 4: 27.942},
            {2: 33.674, 3: 30.403, 4: 28.430},
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Return the protocol with that name. Raises `UsageError` for an unknown name."""
    if name not in PROTOCOLS:
        known = "; ".join(f"{protocol.name}: {protocol.description}" for protocol in PROTOCOLS.values())
        raise UsageError(f"no protocol called '{name}'", known)
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Reduction:
    """The way low resolution is made: by the protocol, or by a seeded degradation.

    `degrade` is in the notation of `--degrade`; empty for the protocol's own.
    """

    protocol: Protocol
    degrade: str = ""
    seed: int = 0

    def check(self, scales: Iterable[float] = ()) -> None:
        """Raise `UsageError` or `ImageError` for an unknown degradation, or one not made for these scales."""
        if not self.degrade:
            return
        parse_degradation(self.degrade)
        for scale in scales:
            if scale != int(scale):
                raise UsageError(f"'{self.degrade}' needs a whole scale, not {scale:g}", "change -x")

    @property
    def label(self) -> str:
        """The protocol and the degradation as tables name them."""
        return (
            f"{self.protocol.name}, {self.degrade}, seed {self.seed}" if self.degrade else self.protocol.name
        )

    @property
    def identity(self) -> str:
        """The label and the parsed degradation: two kernel files of one name may differ in content."""
        return f"{self.label} {parse_degradation(self.degrade)}" if self.degrade else self.label

    def make_reducer(self, image: str, scale: float) -> Callable[[Pixels], Pixels]:
        """Return the function HR -> LR for the image of that name.

        All randomness follows from seed, name and scale, so the order of the work does not matter.
        """
        if not self.degrade:
            return partial(_reduce, self.protocol.reduce, scale)
        degradation = parse_degradation(self.degrade)
        return partial(_degrade, degradation, f"{self.seed} {scale} {image}", scale)


Y_CROP = Reduction(PROTOCOLS["y-crop"])


def _reduce(reduce: Reduce, scale: float, hr: Pixels) -> Pixels:
    return reduce(hr, scale)


def _degrade(degradation: Degradation, key: str, scale: float, hr: Pixels) -> Pixels:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return degrade_image(hr, int(scale), degradation, np.random.default_rng(seed))
