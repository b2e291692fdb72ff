"""RDN: dense blocks whose every layer is kept, fused within each block and over all.

Keys as in the PyTorch port among EDSR's (sanghyun-son/EDSR-PyTorch): SFENet1, SFENet2, RDBs, GFF, UPNet.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, conv, make_upsampler, run_chain

PAPER = Paper("Residual Dense Network for Image Super-Resolution", 2018, "https://arxiv.org/abs/1802.08797")
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 20, "layers": 6, "growth": 32})
FACTS = Facts(
    small={"blocks": 2, "layers": 2, "growth": 8, "features": 16},
    counts=(
        Count(2, 22_123_395),  # 22.1M
        Count(3, 22_308_035),
        Count(4, 22_271_107),
    ),
)


class Encoder(nn.Module):
    """Dense blocks and their fusion: the features that tails of all kinds begin with."""

    alignment = 1

    def __init__(self, blocks: int = 16, layers: int = 8, growth: int = 64, features: int = 64) -> None:
        super().__init__()
        # Two in front, one per layer, one after the blocks.
        self.halo = layers * blocks + 3
        self.SFENet1 = conv(3, features)
        self.SFENet2 = conv(features, features)
        self.RDBs = nn.ModuleList(_Block(features, growth, layers) for _ in range(blocks))
        self.GFF = nn.Sequential(conv(blocks * features, features, 1), conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, features, H, W)."""
        shallow = self.SFENet1(batch)
        results = run_chain(self.RDBs, self.SFENet2(shallow))
        out: Tensor = shallow + self.GFF(torch.cat(results, 1))
        return out


class Network(Encoder):
    """The paper's 16 blocks of 8 layers of 64; a smaller one in its study has 20 of 6 of 32.

    `span`: the largest value, to the network.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        layers: int = 8,
        growth: int = 64,
        features: int = 64,
        span: float = 255.0,
    ) -> None:
        super().__init__(blocks, layers, growth, features)
        self.channels = 3
        self.shift = MeanShift(span, mean=0.0)
        self.halo += 3  # of the upsampler, and one for the tail
        self.UPNet = nn.Sequential(*make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return self.shift.leave(self.UPNet(super().forward(self.shift.enter(batch))))


class _Block(nn.Module):
    """Layers that each see all before them, fused by 1x1 and added to the input."""

    def __init__(self, features: int, growth: int, layers: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(_Layer(features + n * growth, growth) for n in range(layers)))
        self.LFF = conv(features + layers * growth, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.LFF(self.convs(batch))
        return out


class _Layer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(inputs, growth), nn.ReLU())

    def forward(self, batch: Tensor) -> Tensor:
        return torch.cat((batch, self.conv(batch)), 1)
