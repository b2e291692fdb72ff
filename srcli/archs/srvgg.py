"""SRVGGNetCompact: a plain network for video, of Real-ESRGAN.

Keys as in the authors' code (xinntao/Real-ESRGAN): body, numbered over convolutions and activations.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv

PAPER = Paper(
    "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    2021,
    "https://arxiv.org/abs/2107.10833",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"convs": 32})
FACTS = Facts(
    small={"convs": 3, "features": 16},
    counts=(
        Count(4, 621_424),  # the published files'
        Count(4, 1_213_296, {"convs": 32}),
    ),
)


class Network(nn.Module):
    """16 inner convolutions of 64 as in realesr-animevideov3; realesr-general-x4v3 has 32 `convs`."""

    def __init__(self, *, scale: int, features: int = 64, convs: int = 16) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        self.halo = convs + 2
        layers: list[nn.Module] = [conv(3, features), nn.PReLU(features)]
        for _ in range(convs):
            layers += [conv(features, features), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, conv(features, 3 * scale**2))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        residual = F.pixel_shuffle(self.body(batch), self.scale)
        return residual + F.interpolate(batch, scale_factor=self.scale, mode="nearest")
