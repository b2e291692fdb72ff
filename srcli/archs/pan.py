"""PAN: residual blocks and enlargement with an attention that weights every pixel of every channel.

Keys as in the authors' code (zhaohengyuan1/PAN): conv_first, trunk_conv, upconv, att, HRconv, conv_last; but
SCPA_trunk is trunk. The Hub's PAN-BAM (eugenesiow/pan-bam) has balanced attention in the place of `att`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import SHUFFLE_STEPS, BalancedAttention, MeanShift, conv, rename_keys

PAPER = Paper(
    "Efficient Image Super-Resolution Using Pixel Attention", 2020, "https://arxiv.org/abs/2010.01073"
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"bam": True})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "tail_features": 8},
    counts=(
        Count(2, 261_403),  # 261K
        Count(3, 261_403),  # 261K
        Count(4, 272_419),  # 272K
        Count(4, 271_611, {"bam": True}),  # super-image's
    ),
)


class PixelAttentionNetwork(nn.Module):
    """The layout of PAN and A2N: a trunk, nearest-neighbour upsampling with attention, a bilinear residual.

    `trunk` maps `features` to as many; `attention` makes the attention to a number of channels that follows
    each upsampling. `span`: the largest value of a pixel inside the network.
    """

    def __init__(
        self,
        scale: int,
        trunk: nn.Sequential,
        features: int,
        tail_features: int,
        attention: Callable[[int], nn.Module],
        span: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        self.shift = MeanShift(span, mean=0.0)
        self.conv_first = conv(3, features)
        self.trunk = trunk
        self.trunk_conv = conv(features, features)
        for number, _ in enumerate(SHUFFLE_STEPS[scale], 1):
            before = features if number == 1 else tail_features
            self.add_module(f"upconv{number}", conv(before, tail_features))
            self.add_module(f"att{number}", attention(tail_features))
            self.add_module(f"HRconv{number}", conv(tail_features, tail_features))
        self.conv_last = conv(tail_features, 3)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        batch = self.shift.enter(batch)
        shallow = self.conv_first(batch)
        features = shallow + self.trunk_conv(self.trunk(shallow))
        for number, step in enumerate(SHUFFLE_STEPS[self.scale], 1):
            upconv, attention, end = (
                self.get_submodule(f"{name}{number}") for name in ("upconv", "att", "HRconv")
            )
            features = upconv(F.interpolate(features, scale_factor=step, mode="nearest"))
            features = F.leaky_relu(attention(features), 0.2)
            features = F.leaky_relu(end(features), 0.2)
        upsampled = F.interpolate(batch, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.shift.leave(self.conv_last(features) + upsampled)


class Network(PixelAttentionNetwork):
    """16 blocks of 40 features, 24 after upsampling; `bam`: balanced attention there, of the whole image."""

    def __init__(
        self,
        *,
        scale: int,
        features: int = 40,
        tail_features: int = 24,
        blocks: int = 16,
        bam: bool = False,
    ) -> None:
        trunk = nn.Sequential(*(_Block(features) for _ in range(blocks)))
        super().__init__(scale, trunk, features, tail_features, _build_bam if bam else PixelAttention)
        # Head, two per block, the trunk's end, and the tail on enlarged pixels.
        self.halo = 1 + 2 * blocks + 1 + (6 if bam else 2)


class PixelAttention(nn.Module):
    """Each value times a weight in [0, 1] from all channels of its pixel."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = conv(features, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return batch * torch.sigmoid(self.conv(batch))


def _build_bam(features: int) -> BalancedAttention:
    return BalancedAttention(features, reduction=8)


class _Block(nn.Module):
    """Self-calibrated convolutions: a plain and an attentive branch on half of the features each."""

    def __init__(self, features: int) -> None:
        super().__init__()
        half = features // 2
        self.conv1_a, self.conv1_b = (conv(features, half, 1, bias=False) for _ in range(2))
        self.k1 = nn.Sequential(conv(half, half, bias=False))
        self.PAConv = _AttentiveConv(half)
        self.conv3 = conv(2 * half, features, 1, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        plain = self.k1(F.leaky_relu(self.conv1_a(batch), 0.2))
        attentive = self.PAConv(F.leaky_relu(self.conv1_b(batch), 0.2))
        both = F.leaky_relu(torch.cat((plain, attentive), 1), 0.2)
        out: Tensor = batch + self.conv3(both)
        return out


class _AttentiveConv(nn.Module):
    """A convolution weighted by pixel attention, then another one."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.k2 = conv(features, features, 1)
        self.k3, self.k4 = (conv(features, features, bias=False) for _ in range(2))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.k4(self.k3(batch) * torch.sigmoid(self.k2(batch)))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' trunk."""
    return rename_keys(state, {r"^SCPA_trunk\.": "trunk."})
