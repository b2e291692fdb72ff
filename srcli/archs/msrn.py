"""MSRN: blocks that see with 3x3 and 5x5 convolutions side by side, all of whose results are fused.

Keys as in the authors' code (MIVRC/MSRN-PyTorch): head, body, tail. Files on the Hub (eugenesiow/msrn,
msrn-bam) take [0, 1] and shift no mean, although they carry the tensors for it: `span` 1, `mean` 0.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import BalancedAttention, MeanShift, conv, drop_mean_shift, make_upsampler, run_chain

PAPER = Paper(
    "Multi-scale Residual Network for Image Super-Resolution",
    2018,
    "https://openaccess.thecvf.com/content_ECCV_2018/html/Juncheng_Li_Multi-scale_Residual_Network_ECCV_2018_paper.html",
)
TRAITS = Traits(scales=(2, 3, 4, 8))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"bam": True, "span": 1.0, "mean": 0.0})
FACTS = Facts(
    small={"blocks": 2, "features": 8},
    counts=(
        Count(2, 5_930_307),
        Count(4, 6_078_019),  # 6078K
    ),
)


class Network(nn.Module):
    """Eight blocks of 64; `bam`: balanced attention in each. `span`, `mean`: see `MeanShift`."""

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 8,
        features: int = 64,
        bam: bool = False,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        # Head, four per block (and three of balanced attention), fusion, upsampler and tail.
        self.halo = 1 + (7 if bam else 4) * blocks + 1 + 2
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        self.body = nn.Sequential(*(_Block(features, bam) for _ in range(blocks)))
        self.tail = nn.Sequential(
            conv((blocks + 1) * features, features, 1),
            conv(features, features),
            make_upsampler(scale, features),
            conv(features, 3),
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(torch.cat((*run_chain(self.body, shallow), shallow), 1)))


class _Block(nn.Module):
    """Two branches, of 3x3 and of 5x5, that see each other's result halfway."""

    def __init__(self, features: int, bam: bool) -> None:
        super().__init__()
        self.conv_3_1, self.conv_3_2 = conv(features, features), conv(2 * features, 2 * features)
        self.conv_5_1, self.conv_5_2 = conv(features, features, 5), conv(2 * features, 2 * features, 5)
        self.confusion = conv(4 * features, features, 1)
        self.attention = BalancedAttention(features) if bam else nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        both = F.relu(torch.cat((self.conv_3_1(batch), self.conv_5_1(batch)), 1))
        both = F.relu(torch.cat((self.conv_3_2(both), self.conv_5_2(both)), 1))
        out: Tensor = batch + self.attention(self.confusion(both))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors; the other keys are ours."""
    return drop_mean_shift(state)
