"""IMDN: features distilled step by step, with contrast-aware channel attention.

Keys as in the authors' code (Zheng222/IMDN): fea_conv, IMDB, c, LR_conv, upsampler; but its IMDB1 is IMDB.0.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import ChannelAttention, conv, number_from_zero, run_chain

PAPER = Paper(
    "Lightweight Image Super-Resolution with Information Multi-distillation Network",
    2019,
    "https://arxiv.org/abs/1909.11856",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 694_404),  # 694K
        Count(3, 703_059),  # 703K
        Count(4, 715_176),  # 715K
    ),
)


class Network(nn.Module):
    """Six blocks of 64."""

    def __init__(self, *, scale: int, blocks: int = 6, features: int = 64) -> None:
        super().__init__()
        self.channels = 3
        # Four per block, head, the blocks' end and tail: what is seen beyond comes by the attention's means.
        self.halo = 4 * blocks + 3
        self.fea_conv = conv(3, features)
        self.IMDB = nn.ModuleList(_Block(features) for _ in range(blocks))
        self.c = nn.Sequential(conv(blocks * features, features, 1), nn.LeakyReLU(0.05))
        self.LR_conv = conv(features, features)
        self.upsampler = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.fea_conv(batch)
        fused = self.c(torch.cat(run_chain(self.IMDB, shallow), 1))
        out: Tensor = self.upsampler(shallow + self.LR_conv(fused))
        return out


class _Block(nn.Module):
    """Each step keeps a quarter of its channels and refines the rest; a 1x1 convolution fuses the kept."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.kept = features // 4
        refined = features - self.kept
        self.c1 = conv(features, features)
        self.c2 = conv(refined, features)
        self.c3 = conv(refined, features)
        self.c4 = conv(refined, self.kept)
        self.cca = ChannelAttention(features, contrast=True)
        self.c5 = conv(features, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        refined, kept = batch, []
        for layer in (self.c1, self.c2, self.c3):
            features = F.leaky_relu(layer(refined), 0.05)
            kept.append(features[:, : self.kept])
            refined = features[:, self.kept :]
        kept.append(self.c4(refined))
        out: Tensor = batch + self.c5(self.cca(torch.cat(kept, 1)))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' numbered blocks as a list."""
    return number_from_zero(state, "IMDB")
