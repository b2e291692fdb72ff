"""A2N: each block decides by the image how much its attention branch counts against a plain one.

Keys as in the authors' code (haoyuc/A2N): conv_first, trunk_conv, upconv, att, HRconv, conv_last; but
AAB_trunk is trunk. The authors' files take 0..255; files on the Hub (eugenesiow/a2n) take [0, 1]: `span` 1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, rename_keys
from srcli.archs.pan import PixelAttention, PixelAttentionNetwork

PAPER = Paper(
    "Attention in Attention Network for Image Super-Resolution", 2021, "https://arxiv.org/abs/2104.09497"
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"small": True})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "tail_features": 8, "span": 1.0},
    counts=(
        Count(2, 1_036_443),  # 1036K
        Count(4, 1_047_459),  # 1047K
        Count(4, 842_659, {"small": True}),  # A2N-M: 843K
    ),
)

# What the logits of the two branches are divided by, so that neither is shut off while it is untrained.
TEMPERATURE = 30.0


class Network(PixelAttentionNetwork):
    """16 blocks of 40 features, 24 after upsampling; `small`: A2N-M, with 1x1 in the plain branches.

    `span`: the largest value of a pixel inside the network.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 40,
        tail_features: int = 24,
        blocks: int = 16,
        small: bool = False,
        span: float = 255.0,
    ) -> None:
        trunk = nn.Sequential(*(_Block(features, 1 if small else 3) for _ in range(blocks)))
        super().__init__(scale, trunk, features, tail_features, PixelAttention, span)
        # Head, two per block, the trunk's end, and the tail; the branches' weights depend on the whole image.
        self.halo = 1 + 2 * blocks + 1 + 2


class _Block(nn.Module):
    """An attention branch and a plain one, added with weights from the channels' means over the image."""

    def __init__(self, features: int, plain_size: int) -> None:
        super().__init__()
        self.conv_first, self.conv_last = (conv(features, features, 1, bias=False) for _ in range(2))
        self.ADM = nn.Sequential(
            conv(features, features // 4, 1, bias=False), nn.ReLU(), conv(features // 4, 2, 1, bias=False)
        )
        self.attention = _AttentionBranch(features)
        self.non_attention = conv(features, features, plain_size, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        entered = F.leaky_relu(self.conv_first(batch), 0.2)
        logits = self.ADM(entered.mean((2, 3), keepdim=True)) / TEMPERATURE
        # The softmax of two.
        share = torch.sigmoid(logits[:, :1] - logits[:, 1:])
        mixed = self.attention(entered) * share + self.non_attention(entered) * (1 - share)
        out: Tensor = batch + self.conv_last(F.leaky_relu(mixed, 0.2))
        return out


class _AttentionBranch(nn.Module):
    """A convolution weighted by what another one and a 1x1 see, then a third."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.k1 = conv(features, features, bias=False)
        self.k2 = conv(features, features, 1)
        self.k3, self.k4 = (conv(features, features, bias=False) for _ in range(2))

    def forward(self, batch: Tensor) -> Tensor:
        weights = torch.sigmoid(self.k2(F.leaky_relu(self.k1(batch), 0.2)))
        out: Tensor = self.k4(self.k3(batch) * weights)
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' trunk; make 1x1 convolutions of their matrices."""
    state = {key: value[..., None, None] if value.ndim == 2 else value for key, value in state.items()}
    return rename_keys(state, {r"^AAB_trunk\.": "trunk."})
