"""IMDN: features distilled step by step, with contrast-aware channel attention.

Keys as in the authors' code (Zheng222/IMDN): fea_conv, IMDB, c, LR_conv, upsampler; but its IMDB1 is IMDB.0.
The baseline of NTIRE 2022 (ofsoundof/NTIRE2022_ESR, cszn/KAIR), winner of AIM 2019, is a simpler kind.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import ChannelAttention, conv, count_numbers, number_from_zero, rename_keys, run_chain

PAPER = Paper(
    "Lightweight Image Super-Resolution with Information Multi-distillation Network",
    2019,
    "https://arxiv.org/abs/1909.11856",
)
TRAITS = Traits(scales=(2, 3, 4, 1), local=False)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"blocks": 8, "attention": False},
    {"blocks": 7, "attention": False},
)
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 694_404),  # 694K
        Count(3, 703_059),  # 703K
        Count(4, 715_176),  # 715K
        Count(4, 893_936, {"blocks": 8, "attention": False}),  # the file's
    ),
)


class Network(nn.Module):
    """Six blocks of 64.

    `attention`: attention in the blocks, and a fusion of all their results; the baseline of NTIRE 2022 has
    eight blocks without them. `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 6,
        features: int = 64,
        attention: bool = True,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        # Four per block, head, the blocks' end and tail: what is seen beyond comes by the attention's means.
        self.halo = 4 * blocks + 3
        self.fea_conv = conv(channels, features)
        self.IMDB = nn.ModuleList(_Block(features, attention) for _ in range(blocks))
        self.c = (
            nn.Sequential(conv(blocks * features, features, 1), nn.LeakyReLU(0.05)) if attention else None
        )
        self.LR_conv = conv(features, features)
        self.upsampler = nn.Sequential(conv(features, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        shallow = self.fea_conv(batch)
        results = run_chain(self.IMDB, shallow)
        fused = self.c(torch.cat(results, 1)) if self.c else results[-1]
        out: Tensor = self.upsampler(shallow + self.LR_conv(fused))
        return out


class _Block(nn.Module):
    """Each step keeps a quarter of its channels and refines the rest; a 1x1 convolution fuses the kept."""

    def __init__(self, features: int, attention: bool) -> None:
        super().__init__()
        self.kept = features // 4
        refined = features - self.kept
        self.c1 = conv(features, features)
        self.c2 = conv(refined, features)
        self.c3 = conv(refined, features)
        self.c4 = conv(refined, self.kept)
        self.cca = ChannelAttention(features, contrast=True) if attention else nn.Identity()
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


BASELINE_NAMES = {
    r"^model\.0\.": "fea_conv.",
    r"^model\.1\.sub\.\d+\.(weight|bias)$": r"LR_conv.\1",
    r"^model\.1\.sub\.(\d+)\.conv([123])\.0\.": r"IMDB.\1.c\2.",
    r"^model\.1\.sub\.(\d+)\.conv4\.": r"IMDB.\1.c4.",
    r"^model\.1\.sub\.(\d+)\.conv1x1\.": r"IMDB.\1.c5.",
    r"^model\.2\.": "upsampler.0.",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' numbered blocks as a list, and the tensors of the baseline."""
    return rename_keys(number_from_zero(state, "IMDB"), BASELINE_NAMES)


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["fea_conv.weight"].shape[:2]
    return {
        "blocks": count_numbers(state, "IMDB."),
        "features": features,
        "attention": "c.0.weight" in state,
        "channels": channels,
    }
