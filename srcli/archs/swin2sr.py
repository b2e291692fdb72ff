"""Swin2SR: SwinIR with the second Swin transformer's attention, by angles and by places on a log scale.

Keys as in the authors' code (mv-lab/swin2sr): conv_first, patch_embed, layers, norm, conv_after_body, and
what enlarges. The files on the Hub have the names of the transformers library, and queries, keys and values
apart.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    Mlp,
    Size,
    TransformerNetwork,
    attend_in_windows,
    drop_keys,
    init_transformer,
    relative_position_bias,
    split_axis,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import conv, rename_keys

PAPER = Paper(
    "Swin2SR: SwinV2 Transformer for Compressed Image Super-Resolution and Restoration",
    2022,
    "https://arxiv.org/abs/2209.11345",
)
TRAITS = Traits(scales=(2, 3, 4, 8), local=False)
LIGHT: dict[str, Any] = {"features": 60, "groups": 4, "end": "direct"}
VARIANTS: tuple[dict[str, Any], ...] = ({}, LIGHT, {"end": "nearest"})
FACTS = Facts(
    small={"features": 12, "groups": 2, "blocks": 2, "heads": 2, "window": 4, "end": "direct"},
    counts=(
        Count(4, 12_239_283),  # the authors' code's, as the next
        Count(2, 1_005_348, LIGHT),
    ),
    export_errors={"ncnn": "windows", "onnx": "windows", "torchscript": "windows"},
)


class Network(TransformerNetwork):
    """The classical size by default; `VARIANTS` has the lightweight one, and that for photographs.

    The authors' network for compressed images, which enlarges by an auxiliary bicubic branch, is not here.
    `end`: see `TransformerNetwork`; `ratio`: of the features within the blocks' linear layers.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        window: int = 8,
        ratio: int = 2,
        end: str = "steps",
    ) -> None:
        super().__init__(scale, features, window, end)
        self.patch_embed = nn.ModuleDict(
            {"proj": conv(features, features, 1), "norm": nn.LayerNorm(features)}
        )
        self.layers = nn.ModuleList(
            _Group([_Block(features, heads, window, ratio, place) for place in range(blocks)], features)
            for _ in range(groups)
        )
        self.norm = nn.LayerNorm(features)
        self.apply(init_transformer)

    def embed(self, grid: Tensor) -> Tensor:
        """Mix by a 1x1 convolution, then normalise."""
        out: Tensor = self.patch_embed["norm"](to_grid(self.patch_embed["proj"](to_batch(grid))))
        return out


class _Group(nn.Module):
    """Blocks and two convolutions, added to what they began with."""

    def __init__(self, blocks: list[nn.Module], features: int) -> None:
        super().__init__()
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks)})
        self.conv = conv(features, features)
        self.patch_embed = nn.ModuleDict({"proj": conv(features, features, 1)})

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        deep = self.conv(to_batch(self.residual_group["blocks"](grid)))
        return grid + to_grid(self.patch_embed["proj"](deep))


class _Block(nn.Module):
    """SwinIR's block with normalisation after the attention and the linear layers."""

    def __init__(self, features: int, heads: int, window: int, ratio: int, place: int) -> None:
        super().__init__()
        self.begin = place % 2 * (window // 2)
        self.norm1 = nn.LayerNorm(features)
        self.attn = _Attention(features, (window, window), heads)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, features * ratio)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape, multiples of the window."""
        grid = grid + self.norm1(self.attn(grid, (self.begin, self.begin)))
        out: Tensor = grid + self.norm2(self.mlp(grid))
        return out


class _Attention(nn.Module):
    """Within windows by the cosine of queries and keys, and a bias that a small network works out."""

    SHARPEST, STRONGEST, WIDTH = 100.0, 16.0, 512

    def __init__(self, features: int, size: Size, heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, self.WIDTH), nn.ReLU(), nn.Linear(self.WIDTH, heads, bias=False)
        )
        self.qkv = nn.Linear(features, 3 * features, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(features)) for _ in range(2))
        self.proj = nn.Linear(features, features)

    def forward(self, grid: Tensor, shift: Size) -> Tensor:
        """Map (N, H, W, C) to the same shape; `shift`: where the first window begins."""
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        queries, keys, values = F.linear(grid, self.qkv.weight, bias).chunk(3, 3)
        sharpness = self.logit_scale.clamp(max=math.log(self.SHARPEST)).exp()
        queries, keys = (self._normalise(each) for each in (queries, keys))
        whole = torch.cat(((queries * sharpness[:, 0]).flatten(3), keys.flatten(3), values), 3)
        out: Tensor = self.proj(
            attend_in_windows(whole, self.size, self.heads, self._compute_bias(), shift, scale=1.0)
        )
        return out

    def _normalise(self, grid: Tensor) -> Tensor:
        """Split (N, H, W, C) into heads of unit vectors: (N, H, W, heads, channels of a head)."""
        return F.normalize(split_axis(grid, 3, self.heads), dim=4)

    def _compute_bias(self) -> Tensor:
        """Compute the bias of each pair of pixels: (heads, L, L)."""
        table = self.cpb_mlp(_list_log_positions(self.size, self.q_bias))
        return self.STRONGEST * torch.sigmoid(relative_position_bias(table, self.size))


def _list_log_positions(size: Size, like: Tensor) -> Tensor:
    """List all relative positions, from -8 to 8 on a logarithmic scale: (D, 2)."""
    steps = (
        torch.arange(1 - side, side, dtype=like.dtype, device=like.device) * 8 / (side - 1) for side in size
    )
    places = torch.cartesian_prod(*steps)
    return places.sign() * (places.abs() + 1).log2() / math.log2(8)


# What the transformers library calls things.
_LIBRARY = {
    r"^swin2sr\.embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"^swin2sr\.embeddings\.patch_embeddings\.layernorm\.": "patch_embed.norm.",
    r"^swin2sr\.encoder\.stages\.(\d+)\.layers\.": r"layers.\1.residual_group.blocks.",
    r"^swin2sr\.encoder\.stages\.(\d+)\.patch_embed\.projection\.": r"layers.\1.patch_embed.proj.",
    r"^swin2sr\.encoder\.stages\.": "layers.",
    r"^swin2sr\.first_convolution\.": "conv_first.",
    r"^swin2sr\.layernorm\.": "norm.",
    r"^swin2sr\.": "",
    r"\.attention\.self\.continuous_position_bias_mlp\.": ".attn.cpb_mlp.",
    r"\.attention\.self\.logit_scale$": ".attn.logit_scale",
    r"\.attention\.self\.query\.bias$": ".attn.q_bias",
    r"\.attention\.self\.value\.bias$": ".attn.v_bias",
    r"\.attention\.self\.(query|key|value)\.weight$": r".attn.\1.weight",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"^upsample\.conv_before_upsample\.": "conv_before_upsample.0.",
    r"^upsample\.upsample\.convolution_0\.": "upsample.0.",
    r"^upsample\.upsample\.convolution_1\.": "upsample.2.",
    r"^upsample\.conv\.": "upsample.0.",
    r"^upsample\.(conv_up\d|conv_hr)\.": r"\1.",
    r"^upsample\.final_convolution\.": "conv_last.",
}
_PARTS = (".attn.query.weight", ".attn.key.weight", ".attn.value.weight")


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename from the transformers library; drop what the network computes itself."""
    worked_out = (".relative_position_index", ".relative_coords_table", ".attn_mask")
    named = rename_keys(drop_keys(state, *worked_out), _LIBRARY)
    blocks = [key.removesuffix(_PARTS[0]) for key in named if key.endswith(_PARTS[0])]
    whole = [block for block in blocks if all(block + part in named for part in _PARTS)]
    fused = {
        f"{block}.attn.qkv.weight": torch.cat([named[block + part] for part in _PARTS]) for block in whole
    }
    return {**drop_keys(named, *(block + part for block in whole for part in _PARTS)), **fused}
