"""ACT: RCAN beside a transformer over squares of pixels of two sizes, which exchange what they find.

Keys as in the authors' code (jinsuyoo/act): head, linear_encoding, mhsa_block, csta_block, cnn_branch,
fusion_block, fusion_mlp, fusion_cnn, conv_last, tail.

All squares of a patch are mixed; the authors cut images into patches of 48x48 that overlap. Here each cell of
36x36 is restored alone, with 6 pixels more on each side; tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import attend, pad_to_multiple
from srcli.archs.blocks import (
    ChannelAttention,
    MeanShift,
    Residual,
    ResidualBlock,
    conv,
    drop_mean_shift,
    make_attention_group,
    make_upsampler,
    rename_keys,
    run_by_cells,
)

PAPER = Paper(
    "Enriched CNN-Transformer Feature Aggregation Networks for Super-Resolution",
    2023,
    "https://arxiv.org/abs/2203.07682",
)
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={
        "features": 16,
        "stages": 1,
        "blocks": 1,
        "heads": 4,
        "token": 2,
        "cell": 12,
        "overlap": 2,
        "span": 1.0,
        "mean": 1.0,
    },
    counts=(
        Count(2, 45_992_771),  # 46.0M
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(nn.Module):
    """Four stages, each with a group of RCAN and two blocks of the transformer.

    `token`: the side of small squares, large ones are twice that; `cell`: the side of what is restored at
    once, with `overlap` on each side, both multiples of `token`. `span`, `mean`: see `MeanShift`.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        stages: int = 4,
        blocks: int = 12,
        heads: int = 8,
        token: int = 3,
        cell: int = 36,
        overlap: int = 6,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels, self.scale, self.token = 3, scale, token
        self.alignment, self.overlap, self.works_in = cell, overlap, "cells"
        self.halo = cell - 1 + overlap
        self.shift = MeanShift(span, mean)
        width = features * token**2
        self.head = nn.Sequential(
            conv(3, features), ResidualBlock(features, size=5), ResidualBlock(features, size=5)
        )
        self.linear_encoding = nn.Linear(width, width)
        self.mhsa_block = nn.ModuleList(
            nn.ModuleList((_SelfAttention(width, heads), _Linear(width))) for _ in range(stages)
        )
        self.csta_block = nn.ModuleList(_make_cross_block(width, heads) for _ in range(stages))
        self.cnn_branch = nn.ModuleList(
            make_attention_group(features, blocks, lambda: ChannelAttention(features)) for _ in range(stages)
        )
        self.fusion_block = nn.ModuleList(_make_fusion(2 * features) for _ in range(stages))
        self.fusion_mlp = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
            for _ in range(stages - 1)
        )
        self.fusion_cnn = nn.ModuleList(
            nn.Sequential(conv(features, features), nn.ReLU(), conv(features, features))
            for _ in range(stages - 1)
        )
        self.conv_last = conv(2 * features, features)
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return run_by_cells(batch, self.alignment, self.overlap, self.scale, self._restore)

    def _restore(self, batch: Tensor) -> Tensor:
        """Run the authors' network on sides padded to multiples of a square, at least two squares."""
        height, width = batch.shape[2:]
        side = 2 * self.token if min(height, width) < 2 * self.token else self.token
        shallow = self.head(self.shift.enter(pad_to_multiple(batch, side)))
        features, tokens = shallow, self._cut(shallow)
        tokens = tokens + self.linear_encoding(tokens)
        for stage in range(len(self.fusion_block)):
            features, tokens, fused = self._run_stage(stage, features, tokens)
        out = self.shift.leave(self.tail(shallow + self.conv_last(fused)))
        return out[:, :, : height * self.scale, : width * self.scale]

    def _run_stage(self, stage: int, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Advance both branches by a stage; return them and their fusion."""
        tokens = self._mix_tokens(stage, tokens, (features.shape[2], features.shape[3]))
        features = self.cnn_branch[stage](features)
        both = torch.cat((features, self._merge(tokens, features)), 1)
        fused = both + self.fusion_block[stage](both)
        if stage == len(self.fusion_mlp):
            return features, tokens, fused
        to_tokens, to_features = fused.chunk(2, 1)
        tokens = tokens + self.fusion_mlp[stage](self._cut(to_tokens))
        return features + self.fusion_cnn[stage](to_features), tokens, fused

    def _mix_tokens(self, stage: int, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Mix (N, L, C): all squares with all others, then half of the channels with larger squares."""
        for layer in _list_layers(self.mhsa_block[stage]):
            tokens = tokens + layer(tokens)
        before, to_small, to_large, after, linear = _list_layers(self.csta_block[stage])
        small, half = tokens.chunk(2, 2)
        plane = F.fold(half.mT, size, self.token, stride=self.token)
        large = before(F.unfold(plane, 2 * self.token, stride=self.token).mT)
        small, large = small + to_small(small, large), large + to_large(large, small)
        plane = F.fold(after(large).mT, size, 2 * self.token, stride=self.token)
        tokens = torch.cat((small, self._cut(plane)), 2)
        out: Tensor = tokens + linear(tokens)
        return out

    def _cut(self, batch: Tensor) -> Tensor:
        return F.unfold(batch, self.token, stride=self.token).mT

    def _merge(self, tokens: Tensor, like: Tensor) -> Tensor:
        return F.fold(tokens.mT, like.shape[2:], self.token, stride=self.token)


def _list_layers(block: nn.Module) -> list[nn.Module]:
    return list(block.children())


def _make_cross_block(width: int, heads: int) -> nn.ModuleList:
    """Return layers that shrink large squares, attend across twice, grow them again, and mix linearly."""
    half = width // 2
    before = nn.Sequential(
        nn.LayerNorm(2 * width), nn.Linear(2 * width, half), nn.GELU(), nn.Linear(half, half)
    )
    after = nn.Sequential(nn.LayerNorm(half), nn.Linear(half, half), nn.GELU(), nn.Linear(half, 2 * width))
    across = (_CrossAttention(half, heads // 2) for _ in range(2))
    return nn.ModuleList((before, *across, after, _Linear(width)))


def _make_fusion(features: int) -> nn.Sequential:
    """Return four residual blocks of 1x1 convolutions."""

    def layer() -> nn.Conv2d:
        return conv(features, features, 1, bias=False)

    return nn.Sequential(*(Residual(layer(), nn.ReLU(), layer()) for _ in range(4)))


class _SelfAttention(nn.Module):
    """Self-attention of all squares."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, C) to the same shape."""
        out: Tensor = self.to_out(attend(self.to_qkv(self.norm(tokens)).chunk(3, 2), self.heads))
        return out


class _CrossAttention(nn.Module):
    """Cross-attention from some squares to others."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:
        """Map (N, L, C) and (N, M, C) to (N, L, C)."""
        keys, values = self.to_kv(self.norm2(others)).chunk(2, 2)
        out: Tensor = self.to_out(attend((self.to_q(self.norm(tokens)), keys, values), self.heads))
        return out


class _Linear(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.net = nn.ModuleDict({"0": nn.Linear(width, 4 * width), "3": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, C) to the same shape."""
        out: Tensor = self.net["3"](F.gelu(self.net["0"](self.norm(tokens))))
        return out


# The authors' network has one convolution more than stages in its branch, and never uses it.
_UNUSED = r"^cnn_branch\.\d+\.(weight|bias)$"


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Shorten the names of attention; drop the mean shift and a convolution that is never used."""
    rules = {
        r"^net\.(head|linear_encoding|mhsa_|csta_|cnn_|fusion_|conv_last|tail|sub_mean|add_mean)": r"\1",
        r"^((?:mhsa|csta)_block\.\d+\.\d+)\.fn\.": r"\1.",
        r"^((?:mhsa|csta)_block\.\d+\.\d+\.to_out)\.0\.": r"\1.",
        _UNUSED: "unused",
    }
    return {
        key: value for key, value in drop_mean_shift(rename_keys(state, rules)).items() if key != "unused"
    }
