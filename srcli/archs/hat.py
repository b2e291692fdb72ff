"""HAT: SwinIR with channel attention beside its window attention, and windows that look beyond their edges.

Keys as in the authors' code (XPixelGroup/HAT): conv_first, patch_embed, layers, norm, conv_after_body, and
what enlarges. Their files also carry indices of relative positions, which are worked out here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    Mlp,
    TransformerNetwork,
    WindowAttention,
    attend,
    count_window,
    describe_end,
    drop_keys,
    init_transformer,
    make_bias_table,
    merge_windows,
    split_windows,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import ChannelAttention, conv, count_numbers, rename_keys

PAPER = Paper(
    "Activating More Pixels in Image Super-Resolution Transformer", 2023, "https://arxiv.org/abs/2205.04437"
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
SMALL: dict[str, Any] = {"features": 144, "compress": 24, "squeeze": 24}
LARGE: dict[str, Any] = {"groups": 12}
VARIANTS: tuple[dict[str, Any], ...] = ({}, SMALL, LARGE)
FACTS = Facts(
    small={"features": 16, "groups": 1, "blocks": 2, "heads": 2, "window": 8, "squeeze": 8},
    counts=(
        Count(2, 20_624_795),  # 20.6M
        Count(4, 20_772_507),  # 20.8M
        Count(4, 9_621_183, SMALL),  # 9.6M
        Count(4, 40_846_575, LARGE),  # 40.84M
    ),
    export_errors={"ncnn": "windows", "onnx": "windows", "torchscript": "windows"},
)


class Network(TransformerNetwork):
    """HAT by default; `VARIANTS` has HAT-S and HAT-L.

    `compress`, `squeeze`: by how much the convolutions and the attention beside the windows have fewer
    features; `weight`: of that branch; `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        window: int = 16,
        ratio: int = 2,
        compress: int = 3,
        squeeze: int = 30,
        weight: float = 0.01,
        channels: int = 3,
    ) -> None:
        super().__init__(scale, features, window, "steps", channels=channels)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = nn.ModuleList(
            _Group(
                [
                    _Hybrid(
                        features,
                        heads,
                        window,
                        ratio,
                        place,
                        _make_branch(features, compress, squeeze),
                        weight,
                    )
                    for place in range(blocks)
                ],
                _Overlapping(features, heads, window, ratio),
                features,
            )
            for _ in range(groups)
        )
        self.norm = nn.LayerNorm(features)
        self.apply(init_transformer)


class _Group(nn.Module):
    """Hybrid blocks, overlapping windows and a convolution, with a skip connection."""

    def __init__(self, blocks: list[nn.Module], overlapping: nn.Module, features: int) -> None:
        super().__init__()
        self.residual_group = nn.ModuleDict({"blocks": nn.Sequential(*blocks), "overlap_attn": overlapping})
        self.conv = conv(features, features)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        deep = grid
        for part in self.residual_group.values():
            deep = part(deep)
        return grid + to_grid(self.conv(to_batch(deep)))


def _make_branch(features: int, compress: int, squeeze: int) -> nn.ModuleDict:
    """Return two convolutions and channel attention."""
    few = features // compress
    attention = ChannelAttention(features, squeeze)
    layers = (conv(features, few), nn.GELU(), conv(few, features), attention)
    return nn.ModuleDict({"cab": nn.Sequential(*layers)})


class _Hybrid(nn.Module):
    """A window's attention and a little of a convolutional branch, then two linear layers."""

    def __init__(
        self,
        features: int,
        heads: int,
        window: int,
        ratio: int,
        place: int,
        branch: nn.ModuleDict,
        weight: float,
    ) -> None:
        super().__init__()
        self.begin, self.weight = place % 2 * (window // 2), weight
        self.norm1 = nn.LayerNorm(features)
        self.attn = WindowAttention(features, (window, window), heads)
        self.conv_block = branch
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, features * ratio)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape, multiples of the window."""
        normal = self.norm1(grid)
        beside = to_grid(self.conv_block["cab"](to_batch(normal)))
        grid = grid + self.attn(normal, (self.begin, self.begin)) + self.weight * beside
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out


class _Overlapping(nn.Module):
    """Attention of each window to one that is half as large again, zeros outside the image."""

    def __init__(self, features: int, heads: int, window: int, ratio: int) -> None:
        super().__init__()
        self.window, self.heads, self.reach = window, heads, window // 4
        self.norm1 = nn.LayerNorm(features)
        self.qkv = nn.Linear(features, 3 * features)
        self.relative_position_bias_table = make_bias_table((2 * window + 2 * self.reach - 1) ** 2, heads)
        self.proj = nn.Linear(features, features)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, features * ratio)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape, multiples of the window."""
        queries, *seen = self.qkv(self.norm1(grid)).chunk(3, 3)
        size = (self.window, self.window)
        keys, values = (self._cut_overlapping(each) for each in seen)
        mixed = attend((split_windows(queries, size), keys, values), self.heads, self._lookup_bias())
        grid = grid + self.proj(merge_windows(mixed, size, *grid.shape[1:3]))
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out

    def _cut_overlapping(self, grid: Tensor) -> Tensor:
        """Cut (N, H, W, C) into the larger windows that keys and values come from: (B, M, C)."""
        side = self.window + 2 * self.reach
        wide = F.pad(grid, (0, 0, *(self.reach,) * 4))
        cut = wide.unfold(1, side, self.window).unfold(2, side, self.window)
        return cut.permute(0, 1, 2, 4, 5, 3).reshape(-1, side * side, grid.shape[3])

    def _lookup_bias(self) -> Tensor:
        """Look up the bias (heads, L, M); the authors' indices wrap around the table."""
        table = self.relative_position_bias_table
        own = torch.arange(self.window, device=table.device)
        seen = torch.arange(self.window + 2 * self.reach, device=table.device)
        steps = seen - own[:, None] - 2 * self.reach + 1
        span = len(own) + len(seen) - 1
        places = steps[:, None, :, None] * span + steps[None, :, None, :]
        return table[places.flatten(2).flatten(0, 1) % len(table)].permute(2, 0, 1)


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the channel attention; drop what the network computes itself."""
    rules = {
        r"\.cab\.3\.attention\.1\.": ".cab.3.conv_du.0.",
        r"\.cab\.3\.attention\.3\.": ".cab.3.conv_du.2.",
    }
    indices = ("relative_position_index_SA", "relative_position_index_OCA")
    return rename_keys(drop_keys(state, *indices), rules)


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    block = "layers.0.residual_group.blocks.0."
    table = state[f"{block}attn.relative_position_bias_table"]
    hidden, features = state[f"{block}mlp.fc1.weight"].shape
    end = describe_end(state)
    if end.pop("end") != "steps":
        raise ValueError("another end")
    return {
        "groups": count_numbers(state, "layers."),
        "blocks": count_numbers(state, "layers.0.residual_group.blocks."),
        "heads": table.shape[1],
        "window": count_window(table),
        "ratio": hidden // features,
        "compress": features // state[f"{block}conv_block.cab.0.weight"].shape[0],
        "squeeze": features // state[f"{block}conv_block.cab.3.conv_du.0.weight"].shape[0],
        **end,
    }
