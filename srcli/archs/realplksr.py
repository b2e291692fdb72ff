"""RealPLKSR: a large kernel on a part of the channels, between convolutions and an attention to pixels.

Keys as in the authors' and neosr's code (dslisleedh/PLKSR, muslll/neosr): feats, from head to tail.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import split_axis
from srcli.archs.blocks import GlobalStats, conv

PAPER = Paper(
    "Partial Large Kernel CNNs for Efficient Super-Resolution", 2024, "https://arxiv.org/abs/2404.11848"
)
TRAITS = Traits(scales=(1, 2, 3, 4), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"layer_norm": True}, {"blocks": 12})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "kernel": 7},
    counts=(
        Count(4, 7_389_680),  # spandrel's
    ),
    export_errors={"ncnn": "mish"},
)


class Network(nn.Module):
    """28 blocks of 64 features.

    `kernel`: side of the large kernel, which sees the first of `parts` equal parts of the channels.
    `attention`: each block weights its values by what a 3x3 sees. `groups`: of the group norm that ends a
    block; `layer_norm`: a layer norm at its beginning instead.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        blocks: int = 28,
        kernel: int = 17,
        parts: int = 4,
        attention: bool = True,
        groups: int = 4,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        # Head, two and the large kernel and attention in each block, tail; means over the image enter, and
        # what comes from far away through dozens of large kernels is next to nothing.
        self.halo = min(64, blocks * (2 + kernel // 2 + attention) + 2)
        body = (
            _Block(features, features // parts, kernel, attention, None if layer_norm else groups)
            for _ in range(blocks)
        )
        # The gap is a dropout in the published networks.
        tail = conv(features, 3 * scale**2)
        self.feats = nn.Sequential(conv(3, features), *body, nn.Identity(), tail)
        self.to_img = nn.PixelShuffle(scale)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        out: Tensor = self.to_img(self.feats(batch) + batch.repeat_interleave(self.scale**2, 1))
        return out


class _Block(nn.Module):
    """Two 3x3 convolutions, the large kernel on `part` channels, attention and 1x1, added to the input."""

    def __init__(self, features: int, part: int, kernel: int, attention: bool, groups: int | None) -> None:
        super().__init__()
        self.part = part
        self.layer_norm = nn.Identity() if groups else _LayerNorm(features)
        self.channel_mixer = nn.Sequential(
            conv(features, 2 * features), nn.Mish(), conv(2 * features, features)
        )
        self.lk = nn.ModuleDict({"conv": conv(part, part, kernel)})
        self.attn = _Attention(features) if attention else nn.Identity()
        self.refine = conv(features, features, 1)
        self.norm = _GroupNorm(groups, features) if groups else nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        mixed = self.channel_mixer(self.layer_norm(batch))
        seen = self.lk["conv"](mixed[:, : self.part])
        features = self.attn(torch.cat((seen, mixed[:, self.part :]), 1))
        out: Tensor = batch + self.norm(self.refine(features))
        return out


class _Attention(nn.Module):
    """Each value times a weight in [0, 1] from what is around it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.f = nn.Sequential(conv(features, features), nn.Sigmoid())

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch * self.f(batch)
        return out


class _GroupNorm(nn.GroupNorm):
    """Group norm by statistics of the whole image, also where only a tile of it is at hand."""

    def __init__(self, groups: int, features: int) -> None:
        super().__init__(groups, features)
        self.stats = GlobalStats(variances=True)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        means, variances = split_axis(self.stats(batch), 2, self.num_groups)
        mean = means.mean(2, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(2, keepdim=True)
        normed = (split_axis(batch, 1, self.num_groups) - mean) / (variance + self.eps).sqrt()
        out: Tensor = normed.flatten(1, 2) * self.weight[:, None, None] + self.bias[:, None, None]
        return out


class _LayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def __init__(self, features: int) -> None:
        super().__init__(features, eps=1e-6)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return super().forward(batch.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
