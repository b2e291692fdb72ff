"""IPT: a transformer of twelve and twelve layers over all of a patch, with heads and tails for each task.

Keys as in the authors' code (huawei-noah/Pretrained-IPT): head, body, tail. Their files have six heads and
tails, for x2, x3, x4, two kinds of noise and rain: `tails` 2, 3, 4, 1, 1, 1.

The network is for patches of 48x48, and the authors mix overlapping ones. Here each cell of 36x36 is restored
alone, with 6 pixels more on each side, reflected where the image ends; tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import attend
from srcli.archs.blocks import (
    MeanShift,
    ResidualBlock,
    conv,
    drop_mean_shift,
    make_upsampler,
    pad_reflect,
    run_by_cells,
)

PAPER = Paper("Pre-Trained Image Processing Transformer", 2021, "https://arxiv.org/abs/2012.00364")
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"tails": [2, 3, 4, 1, 1, 1]})
FACTS = Facts(
    small={"features": 4, "layers": 1, "heads": 2, "patch": 12, "overlap": 3, "span": 1.0, "mean": 1.0},
    counts=(
        Count(2, 115_460_419),  # 115M
        Count(4, 115_608_131),  # 116M
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(nn.Module):
    """`patch`: the side of what is restored at once, of which `overlap` on each side is for its neighbours.

    `tails`: scales of the file's tasks, 1 for those that do not enlarge; only the network's own where empty.
    `token`: the side of the squares that are mixed. `span`, `mean`: see `MeanShift`.
    """

    def __init__(
        self,
        *,
        scale: int,
        tails: tuple[int, ...] = (),
        features: int = 64,
        layers: int = 12,
        heads: int = 12,
        token: int = 3,
        patch: int = 48,
        overlap: int = 6,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        self.patch, self.overlap = patch, overlap
        self.alignment, self.works_in = patch - 2 * overlap, "cells"
        self.halo = self.alignment - 1 + overlap
        tasks = list(tails) or [scale]
        self.task = tasks.index(scale)
        self.shift = MeanShift(span, mean)
        self.head = nn.ModuleList(_make_head(features) for _ in tasks)
        self.body = _Body(features, layers, heads, token, (patch // token) ** 2, len(tasks))
        self.tail = nn.ModuleList(
            nn.Sequential(make_upsampler(task, features) if task > 1 else nn.Sequential(), conv(features, 3))
            for task in tasks
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return run_by_cells(batch, self.alignment, self.overlap, self.scale, self._restore)

    def _restore(self, batch: Tensor) -> Tensor:
        """Run the authors' network on a patch; smaller ones are padded by reflection."""
        height, width = batch.shape[2:]
        patch = pad_reflect(batch, (0, self.patch - width, 0, self.patch - height))
        shallow = self.head[self.task](self.shift.enter(patch))
        out = self.shift.leave(self.tail[self.task](shallow + self.body(shallow, self.task)))
        return out[:, :, : height * self.scale, : width * self.scale]


def _make_head(features: int) -> nn.Sequential:
    return nn.Sequential(conv(3, features), ResidualBlock(features, size=5), ResidualBlock(features, size=5))


class _Body(nn.Module):
    """A transformer over squares of pixels, with a learned query for each task."""

    def __init__(self, features: int, layers: int, heads: int, token: int, count: int, tasks: int) -> None:
        super().__init__()
        self.token = token
        width = features * token**2
        self.linear_encoding = nn.Linear(width, width)
        self.mlp_head = nn.ModuleDict({"0": nn.Linear(width, 4 * width), "3": nn.Linear(4 * width, width)})
        self.query_embed = nn.Embedding(tasks, width * count)
        self.encoder = nn.ModuleDict(
            {"layers": nn.Sequential(*(_Encoder(width, heads) for _ in range(layers)))}
        )
        self.decoder = nn.ModuleDict({"layers": _Decoders(_Decoder(width, heads) for _ in range(layers))})
        self.position_encoding = nn.ModuleDict({"pe": nn.Embedding(count, width)})

    def forward(self, batch: Tensor, task: int) -> Tensor:
        """Map (N, C, H, W) of a patch to the same shape."""
        tokens = F.unfold(batch, self.token, stride=self.token).mT
        tokens = tokens + self.linear_encoding(tokens)
        query = self.query_embed.weight[task].view(tokens.shape[1:])
        memory = self.encoder["layers"](tokens + self.position_encoding["pe"].weight)
        out = self.decoder["layers"](memory, query)
        out = out + self.mlp_head["3"](F.relu(self.mlp_head["0"](out)))
        return F.fold(out.mT, batch.shape[2:], self.token, stride=self.token)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Map (N, L, C) each, to the same shape."""
        parts = zip((queries, keys, values), self.in_proj_weight.chunk(3), strict=True)
        out: Tensor = self.out_proj(attend((F.linear(*part) for part in parts), self.heads))
        return out


class _Layer(nn.Module):
    """The shared part of encoder and decoder layers: self-attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def linear(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.linear2(F.relu(self.linear1(tokens)))
        return out


class _Encoder(_Layer):
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, L, C) to the same shape."""
        normal = self.norm1(tokens)
        tokens = tokens + self.self_attn(normal, normal, normal)
        return tokens + self.linear(self.norm2(tokens))


class _Decoder(_Layer):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.multihead_attn = _Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, memory: Tensor, query: Tensor) -> Tensor:
        """Map (N, L, C) to the same shape; `memory` is the encoder's, `query` (L, C) the task's."""
        normal = self.norm1(tokens)
        tokens = tokens + self.self_attn(normal + query, normal + query, normal)
        tokens = tokens + self.multihead_attn(self.norm2(tokens) + query, memory, memory)
        return tokens + self.linear(self.norm3(tokens))


class _Decoders(nn.ModuleList):
    def forward(self, memory: Tensor, query: Tensor) -> Tensor:
        """Run the encoder's output (N, L, C) through all layers."""
        tokens = memory
        for layer in self:
            tokens = layer(tokens, memory, query)
        return tokens


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors and the position numbers."""
    return {key: value for key, value in drop_mean_shift(state).items() if not key.endswith(".position_ids")}
