"""RCAN: groups of residual blocks with channel attention, ten of twenty.

Keys as in the authors' code (yulunzhang/RCAN): head, body, tail. The Hub's RCAN-BAM (eugenesiow/rcan-bam) has
balanced attention (https://arxiv.org/abs/2104.07566) in the place of channel attention.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    BalancedAttention,
    ChannelAttention,
    MeanShift,
    conv,
    drop_mean_shift,
    make_attention_group,
    make_upsampler,
)

PAPER = Paper(
    "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
    2018,
    "https://arxiv.org/abs/1807.02758",
)
TRAITS = Traits(scales=(2, 3, 4, 8), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"bam": True, "span": 1.0})
FACTS = Facts(
    small={"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    counts=(
        Count(2, 15_444_643),  # 15.44M
        Count(3, 15_629_283),  # 15.63M
        Count(4, 15_592_355),  # 15.59M
    ),
)


class Network(nn.Module):
    """`bam`: balanced attention. `span`, `mean`: see `MeanShift`.

    The Hub's network takes [0, 1] as it is and yet subtracts a mean colour of 255: `span` 1 with `mean` 255.
    """

    def __init__(
        self,
        *,
        scale: int,
        groups: int = 10,
        blocks: int = 20,
        features: int = 64,
        bam: bool = False,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        # Two per block (and three of balanced attention), one per group, head and body's end, upsampler and
        # tail; but tiles whose means differ by their content are not made equal by more than some overlap.
        self.halo = min(64, groups * ((5 if bam else 2) * blocks + 1) + 4)
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        attention = BalancedAttention if bam else ChannelAttention
        body = [make_attention_group(features, blocks, lambda: attention(features)) for _ in range(groups)]
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(shallow + self.body(shallow)))


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors; the other keys are ours."""
    return drop_mean_shift(state)
