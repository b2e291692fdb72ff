"""BSRN: distillation with separable convolutions and two kinds of attention.

Keys as in the authors' code (xiaom233/BSRN): fea_conv, B, c1, c2, upsampler; but its B1 is B.0.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    RFDN_LAYERS,
    ChannelAttention,
    Distillation,
    SpatialAttention,
    conv,
    number_from_zero,
    pad_to_side,
    rename_keys,
    run_chain,
)

PAPER = Paper(
    "Blueprint Separable Residual Network for Efficient Image Super-Resolution",
    2022,
    "https://arxiv.org/abs/2205.05996",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 5, "features": 48, "lean": True})
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 331_628),  # 332K
        Count(4, 352_400),  # 352K
        Count(4, 156_288, {"blocks": 5, "features": 48, "lean": True}),  # BSRN-S: the file's, 0.156M
    ),
)


class Network(nn.Module):
    """Eight blocks of 64; BSRN-S, winner of a track of NTIRE 2022, has five `lean` ones of 48."""

    def __init__(self, *, scale: int, blocks: int = 8, features: int = 64, lean: bool = False) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        # Means over the image and the attention's grid depend on the tile: an overlap that keeps it close.
        self.halo = 32
        # The pointwise layers of the lean kind have a bias.
        separable = partial(_Separable, bias=lean)
        self.fea_conv = separable(12, features)
        block = _LeanBlock if lean else _Block
        self.B = nn.ModuleList(block(features) for _ in range(blocks))
        self.c1 = conv(blocks * features, features, 1)
        self.c2 = separable(features, features)
        self.upsampler = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.fea_conv(pad_to_side(batch, SpatialAttention.LEAST).repeat(1, 4, 1, 1))
        fused = F.gelu(self.c1(torch.cat(run_chain(self.B, shallow), 1)))
        out: Tensor = self.upsampler(shallow + self.c2(fused))
        height, width = batch.shape[2:]
        return out[..., : height * self.scale, : width * self.scale]


class _Separable(nn.Module):
    """A blueprint convolution: 1x1 over the channels, then 3x3 within each."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.pw = conv(inputs, outputs, 1, bias=bias)
        self.dw = conv(outputs, outputs, stride=stride, groups=outputs)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.dw(self.pw(batch))
        return out


def _make_attention(
    features: int, separable: Callable[..., nn.Module], reduce: Callable[..., nn.Module]
) -> SpatialAttention:
    return SpatialAttention(features, features // 4, RFDN_LAYERS, nn.GELU(), separable, reduce)


class _Block(Distillation):
    """RFDN's, with channel attention after it, added to its input."""

    def __init__(self, features: int) -> None:
        super().__init__(features, nn.GELU(), _make_attention(features, _Separable, _Separable), _Separable)
        self.cca = ChannelAttention(features, contrast=True)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.cca(super().forward(batch))
        return out


class _LeanBlock(Distillation):
    """RFDN's, with a learned weight for each channel in the place of attention to them, and a 1x1."""

    def __init__(self, features: int) -> None:
        separable = partial(_Separable, bias=True)
        super().__init__(features, nn.GELU(), _make_attention(features, separable, conv), separable)
        self.cw = nn.Parameter(1 + 0.2 * torch.randn(1, features))
        self.conv_out = conv(features, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        weighted = super().forward(batch) * self.cw[..., None, None]
        out: Tensor = batch + self.conv_out(weighted)
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' blocks and upsampler; make BSRN-S's matrices 1x1 convolutions."""
    state = {
        key: value[..., None, None] if key.endswith(".weight") and value.ndim == 2 else value
        for key, value in state.items()
    }
    return rename_keys(number_from_zero(state, "B"), {r"^upsampler\.upsampleOneStep\.": "upsampler."})
