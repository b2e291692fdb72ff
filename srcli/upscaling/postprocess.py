"""Postprocessing of upscaled images: blending, colour transfer, back-projection, uncertainty maps."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from srcli import manifest
from srcli.dataclass import dataclass
from srcli.engine.upscaler import orient, undo_orientation
from srcli.errors import UsageError
from srcli.imaging import rows
from srcli.imaging.image import Image, write_image
from srcli.imaging.pixels import Pixels
from srcli.imaging.postprocess import (
    add_back_noise,
    add_grain,
    back_project,
    blend_back,
    sharpen,
    transfer_colours,
)
from srcli.imaging.rows import Rows
from srcli.methods import WEIGHTLESS, Method

# The deviation that is white in an uncertainty map: 25 of 255 levels.
_WHITE = 0.1


@dataclass(frozen=True)
class Postprocess:
    """Steps applied around a method. `uncertainty` is the file for an uncertainty map.

    The map is the standard deviation over the eight orientations of the image; the output is their mean.
    `linear_light`: images that become smaller are reduced in linear light. `wrap`: the image repeats without
    seams, as a texture does. `color_fix`: None corrects the colours of networks that need it.
    `faithful`: blends with bicubic where the result contradicts the input; None for networks that invent.
    `denoise`: share of the noise that a restoring network removes; the rest is put back as it was.
    `sharpen`: strength of an unsharp mask of one pixel. `grain`: artificial noise, as a share of the input's.
    `strength`: blend between bicubic (0) and the method (1).
    """

    consistent: bool = False
    color_fix: bool | None = None
    faithful: bool | None = None
    denoise: float = 1.0
    sharpen: float = 0.0
    grain: float = 0.0
    strength: float = 1.0
    uncertainty: Path | None = None
    linear_light: bool = False
    wrap: bool = False

    def check(self) -> None:
        """Raise `UsageError` for amounts out of range, and for steps that exclude each other."""
        if self.wrap and self.uncertainty:
            raise UsageError("--wrap cannot be used with --uncertainty", "leave out one of them")
        for name, limit in (("sharpen", 2), ("grain", 2)):
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise UsageError(f"--{name} {value:g} is not between 0 and {limit}", "0 changes nothing")
        hints = {"strength": "0 is bicubic, 1 the network", "denoise": "0 keeps all noise, 1 removes it"}
        for name, hint in hints.items():
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UsageError(f"--{name} {value:g} is not between 0 and 1", hint)

    def for_method(self, method: Method | None) -> "Postprocess":
        """Return the same steps with what is open decided, and `denoise` only for networks that remove noise.

        Networks trained against a discriminator often shift colours: Real-ESRGAN makes photographs darker by
        up to five levels of 255. They also get small faces wrong. Ours shift no colours and make up little;
        those for drawings are meant to thicken lines.
        """
        entries = [entry for entry in manifest.load() if method and entry.model == method.name]
        purposes = {entry.purpose for entry in entries if not entry.bundled}
        shifts, invents = bool(purposes - {"classical"}), "real-world" in purposes
        return replace(
            self,
            color_fix=shifts if self.color_fix is None else self.color_fix,
            faithful=invents if self.faithful is None else self.faithful,
            denoise=self.denoise if method and can_remove_noise(method.name) else 1.0,
        )

    @property
    def whole_image_options(self) -> list[str]:
        """The options in use that need the whole output before its first row."""
        names = ("consistent", "uncertainty")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name)]

    @property
    def is_needed(self) -> bool:
        """True if any option is in use."""
        changed = (self.color_fix, self.faithful, self.sharpen, self.grain, self.whole_image_options)
        return self.strength < 1 or self.denoise < 1 or any(changed)

    def apply(self, large: Rows, small: Rows) -> Rows:
        """Postprocess `large`, which was made from `small`; values in [0, 1]."""
        if self.strength < 1:
            large = blend_with_bicubic(large, small, self.strength)
        if self.color_fix:
            large = transfer_colours(large, small)
        if self.faithful:
            large = blend_back(large, small)
        if self.denoise < 1:
            large = add_back_noise(large, small, 1 - self.denoise)
        if self.consistent:
            large = rows.of(back_project(large.whole(), small.whole()))
        if self.sharpen:
            large = sharpen(large, self.sharpen)
        return add_grain(large, small, self.grain) if self.grain else large


def can_remove_noise(model: str) -> bool:
    """Return whether a model is for degraded images; True for a weight file, of which nothing is known."""
    purposes = {entry.purpose for entry in manifest.load() if entry.model == model}
    return bool(purposes - {"classical"}) or not (purposes or model in WEIGHTLESS)


def blend_with_bicubic(large: Rows, small: Rows, strength: float) -> Rows:
    """Mix `large` (`strength` 1) with the bicubic enlargement of `small` (0)."""
    bicubic = rows.resize_rows(small, *large.shape)

    def read(start: int, stop: int) -> Pixels:
        plain: Pixels = bicubic.read(start, stop).clip(0, 1)
        return large.read(start, stop) * np.float32(strength) + plain * np.float32(1 - strength)

    return Rows(large.height, large.width, read, large.grey)


def average_orientations(method: Method, source: Rows, scale: float, chart: Path) -> Rows:
    """Return the mean of `method` over eight orientations; write the map of their deviation to `chart`."""
    pixels = source.whole()
    total = squares = np.zeros(1, np.float32)
    for k in range(8):
        out = undo_orientation(np.clip(method(np.ascontiguousarray(orient(pixels, k)), scale), 0, 1), k)
        total, squares = total + out, squares + out**2
    mean: Pixels = total / np.float32(8)
    deviation = np.sqrt(np.maximum(squares / 8 - mean**2, 0)).mean(axis=2, keepdims=True)
    write_image(chart, Image(np.repeat(np.clip(deviation / _WHITE, 0, 1), 3, axis=2), grey=True))
    return rows.of(mean)
