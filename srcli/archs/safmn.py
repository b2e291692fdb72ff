"""SAFMN: features modulated by what is seen at several sizes.

Keys as in the authors' code (sunny2109/SAFMN): to_feat, feats, to_img.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv

PAPER = Paper(
    "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution",
    2023,
    "https://arxiv.org/abs/2302.13800",
)
# Windows that are pooled begin anew in each tile, and their size depends on the image's.
TRAITS = Traits(scales=(2, 3, 4), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"features": 128, "blocks": 16})
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 227_820),  # 228K
        Count(3, 232_695),  # 233K
        Count(4, 239_520),  # 240K
        Count(4, 5_600_816, {"features": 128, "blocks": 16}),  # 5.60M
    ),
    # Its pooling adapts to the size of the image: ONNX Runtime gives another result at a second size.
    export_errors={"ncnn": "movedim", "onnx": "differs"},
)
LEVELS = 4


class Network(nn.Module):
    """8 blocks of 36; the large one is 16 of 128."""

    def __init__(self, *, scale: int, features: int = 36, blocks: int = 8, ffn_scale: float = 2.0) -> None:
        super().__init__()
        self.channels = 3
        # The coarsest level reaches two of its windows of 8, and each feed-forward layer one pixel.
        self.halo = 17 * blocks + 2
        # Windows of tiles that begin at a multiple of this are those of the whole, where it has whole ones.
        self.alignment = 2 ** (LEVELS - 1)
        self.to_feat = conv(3, features)
        self.feats = nn.Sequential(*(_Block(features, ffn_scale) for _ in range(blocks)))
        self.to_img = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.to_feat(batch)
        out: Tensor = self.to_img(shallow + self.feats(shallow))
        return out


class _Block(nn.Module):
    def __init__(self, features: int, ffn_scale: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = _Norm(features), _Norm(features)
        self.safm = _Modulation(features)
        self.ccm = _FeedForward(features, int(features * ffn_scale))

    def forward(self, batch: Tensor) -> Tensor:
        modulated = batch + self.safm(self.norm1(batch))
        out: Tensor = modulated + self.ccm(self.norm2(modulated))
        return out


class _Norm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, batch: Tensor) -> Tensor:
        last = F.layer_norm(batch.movedim(1, -1), self.weight.shape, self.weight, self.bias, eps=1e-6)
        return last.movedim(-1, 1)


class _FeedForward(nn.Module):
    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.ccm = nn.Sequential(conv(features, hidden), nn.GELU(), conv(hidden, features, 1))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.ccm(batch)
        return out


class _Modulation(nn.Module):
    """Spatial modulation: each quarter of the channels is filtered at another size, full to an eighth."""

    def __init__(self, features: int) -> None:
        super().__init__()
        quarter = features // LEVELS
        self.mfr = nn.ModuleList(conv(quarter, quarter, groups=quarter) for _ in range(LEVELS))
        self.aggr = conv(features, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[2:]
        seen = []
        for level, (part, layer) in enumerate(zip(batch.chunk(LEVELS, 1), self.mfr, strict=True)):
            size = (max(1, height >> level), max(1, width >> level))
            small = F.adaptive_max_pool2d(part, size) if level else part
            seen.append(F.interpolate(layer(small), size=(height, width), mode="nearest"))
        out: Tensor = F.gelu(self.aggr(torch.cat(seen, 1))) * batch
        return out
