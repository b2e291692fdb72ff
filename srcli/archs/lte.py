"""LTE: LIIF fed with waves, whose amplitudes, frequencies and phases are estimated from the features.

Keys as in the authors' code (jaewon-lee-b/lte): encoder, coef, freq, phase, imnet. The mean-shift tensors
that files carry beside EDSR's are not used there, nor here; masks and indices beside SwinIR's are worked out.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.anyscale import (
    ArbitraryScaleNetwork,
    Mlp,
    PixelOffsets,
    blend_neighbours,
    build_encoder,
    find_window_neighbours,
    gather_pixels,
    interpolate_bilinear,
    run_in_bands,
)
from srcli.archs.anyscale import drop_unused_keys as rename
from srcli.archs.blocks import conv
from srcli.scales import Window

__all__ = ["FACTS", "PAPER", "TRAITS", "VARIANTS", "Network", "rename"]

PAPER = Paper(
    "Local Texture Estimator for Implicit Representation Function", 2022, "https://arxiv.org/abs/2111.08918"
)
TRAITS = Traits(scales=(2, 3, 4), any_scale=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"encoder": "rdn"}, {"encoder": "swinir"})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "hidden": 24},
    counts=(
        Count(2, 1_714_243),  # 1.7M
        Count(2, 22_467_779, {"encoder": "rdn"}),  # 22.5M
        Count(
            2, 12_096_871, {"encoder": "swinir"}
        ),  # SwinIR's x2 less what enlarges there, and 493,827 of LTE
    ),
    export_errors={
        "ncnn": "its scale is an input",
        "onnx": "its scale is an input",
        "torchscript": "its scale is an input",
    },
)
# The largest scale of the training: for larger ones, the pixel size of this scale is used.
_LARGEST = 4


class Network(ArbitraryScaleNetwork):
    """On EDSR's baseline by default, or on RDN, or on SwinIR, with which `halo` is an overlap only.

    `blocks`: see `build_encoder`; `hidden`: how many sines and cosines; the decoder's width.
    """

    def __init__(
        self, *, scale: int, encoder: str = "edsr", blocks: int = 0, features: int = 64, hidden: int = 256
    ) -> None:
        super().__init__(scale)
        self.encoder = build_encoder(encoder, blocks, features)
        # One for what estimates, one for the pixel on the other side.
        self.halo, self.alignment = self.encoder.halo + 2, self.encoder.alignment
        self.coef = conv(features, hidden)
        self.freq = conv(features, hidden)
        self.phase = nn.Linear(2, hidden // 2, bias=False)
        self.imnet = Mlp(hidden, (hidden,) * 3, 3)

    def forward(self, batch: Tensor, window: Window | None = None) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to the window of the output, by default all at `scale`."""
        given = 2 * batch - 1
        features = self.encoder(given)
        amplitudes, frequencies = self.coef(features).movedim(1, 3), self.freq(features).movedim(1, 3)

        def make(part: Window) -> Tensor:
            return self._decode(amplitudes, frequencies, given.movedim(1, 3), part)

        return run_in_bands(make, window or self.window(batch)) / 2 + 0.5

    def _decode(self, amplitudes: Tensor, frequencies: Tensor, given: Tensor, window: Window) -> Tensor:
        """Decode (N, H, W, hidden) twice and (N, H, W, 3) at the window: (N, 3, h, w) in [-1, 1]."""
        # As the authors have it: a pixel is 2 wide.
        cells = [2 * max(axis.cell, 1 / _LARGEST) for axis in window]
        phase = self.phase(given.new_tensor(cells))

        def decode(y: PixelOffsets, x: PixelOffsets) -> Tensor:
            waves = gather_pixels(frequencies, y.pixel, x.pixel)
            down, across = waves[..., ::2] * y.offset[:, None, None], waves[..., 1::2] * x.offset[:, None]
            angle = 2 * (down + across) + phase
            basis = torch.cat(((math.pi * angle).cos(), (math.pi * angle).sin()), 3)
            texture: Tensor = self.imnet(gather_pixels(amplitudes, y.pixel, x.pixel) * basis)
            return texture

        return blend_neighbours(decode, *find_window_neighbours(window, given)).movedim(
            3, 1
        ) + interpolate_bilinear(given, window)
