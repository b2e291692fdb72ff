"""RFDN: IMDN's distillation by 1x1 convolutions, with spatial attention.

Keys as in the authors' code (njulj/RFDN): fea_conv, B, c, LR_conv, upsampler; but its B1 is B.0. Their file
takes 0..255.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    RFDN_LAYERS,
    ChannelAttention,
    Distillation,
    MeanShift,
    SpatialAttention,
    conv,
    number_from_zero,
    pad_to_side,
    run_chain,
)

PAPER = Paper(
    "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
    2020,
    "https://arxiv.org/abs/2009.11551",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"blocks": 6, "features": 48, "spatial": False},
    {"blocks": 6, "features": 52, "spatial": False},
)
FACTS = Facts(
    small={"blocks": 2, "features": 16, "span": 1.0},
    counts=(
        Count(4, 433_448),  # 0.433M in the report of AIM 2020
        Count(2, 534_036, {"blocks": 6, "features": 48, "spatial": False}),  # 534K
        Count(3, 540_531, {"blocks": 6, "features": 48, "spatial": False}),  # 541K
        Count(4, 549_624, {"blocks": 6, "features": 48, "spatial": False}),  # 550K
    ),
)


class Network(nn.Module):
    """Four blocks of 50, the authors' code and the winner of AIM 2020 (E-RFDN in the paper).

    The paper's RFDN has six of 48, RFDN-L six of 52, and IMDN's channel attention, without `spatial`.
    `span`: the largest value of a pixel inside the network.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 4,
        features: int = 50,
        spatial: bool = True,
        span: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        self.shift = MeanShift(span, mean=0.0)
        # The attention's grid depends on where a tile begins: an overlap that keeps tiles close to the whole.
        self.halo = 32
        self.fea_conv = conv(3, features)
        self.B = nn.ModuleList(
            Distillation(features, nn.LeakyReLU(0.05), _make_attention(features, spatial), conv)
            for _ in range(blocks)
        )
        self.c = nn.Sequential(conv(blocks * features, features, 1), nn.LeakyReLU(0.05))
        self.LR_conv = conv(features, features)
        self.upsampler = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.fea_conv(self.shift.enter(pad_to_side(batch, SpatialAttention.LEAST)))
        fused = self.c(torch.cat(run_chain(self.B, shallow), 1))
        out = self.shift.leave(self.upsampler(shallow + self.LR_conv(fused)))
        height, width = batch.shape[2:]
        return out[..., : height * self.scale, : width * self.scale]


def _make_attention(features: int, spatial: bool) -> nn.Module:
    if spatial:
        return SpatialAttention(features, features // 4, RFDN_LAYERS, nn.ReLU())
    return ChannelAttention(features, reduction=4, contrast=True)


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' numbered blocks as a list."""
    return number_from_zero(state, "B")
