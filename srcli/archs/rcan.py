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
    count_numbers,
    drop_mean_shift,
    list_basicsr_names,
    make_attention_group,
    make_upsampler,
    rename_keys,
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
    """`bam`: balanced attention. `span`, `mean`: see `MeanShift`. `channels`: 1 for luma.

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
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        # Two per block (and three of balanced attention), one per group, head and body's end, upsampler and
        # tail; but tiles whose means differ by their content are not made equal by more than some overlap.
        self.halo = min(64, groups * ((5 if bam else 2) * blocks + 1) + 4)
        self.shift = MeanShift(span, mean, channels=channels)
        self.head = nn.Sequential(conv(channels, features))
        attention = BalancedAttention if bam else ChannelAttention
        body = [make_attention_group(features, blocks, lambda: attention(features)) for _ in range(groups)]
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, channels))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(shallow + self.body(shallow)))


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the tensors of BasicSR; drop the mean shift."""
    return drop_mean_shift(rename_keys(state, list_basicsr_names(state, _list_group_names(state))))


def _list_group_names(state: dict[str, Any]) -> dict[str, str]:
    """Return rules for BasicSR's groups, whose last convolution comes after all blocks."""
    blocks = count_numbers(state, "body.0.residual_group.")
    return {
        r"^(body\.\d+)\.conv\.": rf"\1.body.{blocks}.",
        r"^(body\.\d+)\.residual_group\.(\d+)\.rcab\.": r"\1.body.\2.body.",
        r"\.attention\.1\.": ".conv_du.0.",
        r"\.attention\.3\.": ".conv_du.2.",
    }


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["head.0.weight"].shape[:2]
    bam = any(".sa.conv1." in key for key in state)
    return {
        "groups": count_numbers(state, "body.") - 1,
        "blocks": count_numbers(state, "body.0.body.") - 1,
        "features": features,
        "bam": bam,
        "span": 1.0 if bam else 255.0,
        "channels": channels,
    }
