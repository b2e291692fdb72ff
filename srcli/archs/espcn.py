"""ESPCN: sub-pixel convolution at the end of a small network.

Keys as in a public RGB port (Nhat-Thanh/ESPCN-Pytorch): conv_1, conv_2, conv_3.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits

PAPER = Paper(
    "Real-Time Single Image and Video Super-Resolution"
    " Using an Efficient Sub-Pixel Convolutional Neural Network",
    2016,
    "https://arxiv.org/abs/1609.05158",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"channels": 3})
FACTS = Facts(
    counts=(
        Count(2, 21_284),
        Count(4, 24_752),
        Count(3, 31_131, {"channels": 3}),
    ),
)


class Network(nn.Module):
    """The paper's 5-3-3 with 64 and 32 features: 25k parameters for luma at x4; `channels` 3 for RGB."""

    def __init__(self, *, scale: int, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels
        self.halo = 2 + 1 + 1
        self.conv_1 = nn.Conv2d(channels, 64, 5, padding=2)
        self.conv_2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv_3 = nn.Conv2d(32, channels * scale**2, 3, padding=1)
        self.act = nn.Tanh()
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) in [0, 1] to (N, C, H*scale, W*scale)."""
        features = self.act(self.conv_2(self.act(self.conv_1(batch))))
        out: Tensor = self.shuffle(self.conv_3(features))
        return out
