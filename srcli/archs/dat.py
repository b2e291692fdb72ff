"""DAT: blocks that mix pixels within windows and blocks that mix channels, by turns, beside convolutions.

Keys as in the authors' code (zhengchen1999/DAT): conv_first, before_RG, layers, norm, conv_after_body, and
what enlarges. Their files may also carry masks and indices, which are worked out here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    Size,
    TransformerNetwork,
    attend_in_windows,
    describe_end,
    drop_keys,
    init_transformer,
    make_end_conv,
    relative_position_bias,
    split_axis,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import conv, count_numbers

PAPER = Paper(
    "Dual Aggregation Transformer for Image Super-Resolution", 2023, "https://arxiv.org/abs/2308.03364"
)
TRAITS = Traits(scales=(2, 3, 4, 1), local=False)
LIGHT: dict[str, Any] = {
    "features": 60,
    "groups": 1,
    "blocks": 18,
    "ratio": 2,
    "end": "direct",
    "narrow": True,
}
SMALL: dict[str, Any] = {"split": [8, 16], "ratio": 2}
SECOND: dict[str, Any] = {"ratio": 2}
VARIANTS: tuple[dict[str, Any], ...] = ({}, LIGHT, SMALL, SECOND)
FACTS = Facts(
    small={
        "features": 32,
        "groups": 1,
        "blocks": 4,
        "heads": 4,
        "split": [4, 8],
        "ratio": 2,
        "end": "direct",
    },
    counts=(
        Count(4, 14_802_051),  # 14.80M
        Count(4, 11_212_131, SMALL),  # 11.21M
        Count(4, 11_212_131, SECOND),  # 11.21M
        Count(4, 572_766, LIGHT),  # 573K
    ),
    export_errors={"ncnn": "windows", "onnx": "windows", "torchscript": "windows"},
)


class Network(TransformerNetwork):
    """The full size by default; `VARIANTS` has DAT-light, DAT-S and DAT-2.

    `split`: height and width of the windows of half of the channels; those of the other half lie across.
    `ratio`: of the features within the gated layers; `end`, `narrow`: see `TransformerNetwork`;
    `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        split: tuple[int, int] = (8, 32),
        ratio: int = 4,
        end: str = "steps",
        narrow: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__(scale, features, 1, end, narrow, channels)
        self.alignment = max(split)
        self.before_RG = nn.ModuleDict({"1": nn.LayerNorm(features)})
        shape = (features, heads, (split[0], split[1]), ratio)
        self.layers = nn.ModuleList(_Group(*shape, group, blocks, narrow) for group in range(groups))
        self.norm = nn.LayerNorm(features)
        self.apply(init_transformer)

    def embed(self, grid: Tensor) -> Tensor:
        """Normalise; the authors' layer has another name than SwinIR's."""
        out: Tensor = self.before_RG["1"](grid)
        return out


class _Group(nn.Module):
    """Blocks and a convolution, added to what they began with."""

    def __init__(
        self, features: int, heads: int, split: Size, ratio: int, group: int, blocks: int, narrow: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                _Block(features, _mixer(features, heads, split, group, place), ratio)
                for place in range(blocks)
            )
        )
        self.conv = make_end_conv(features, narrow)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        return grid + to_grid(self.conv(to_batch(self.blocks(grid))))


def _mixer(features: int, heads: int, split: Size, group: int, place: int) -> nn.Module:
    """Return attention to channels at odd places, else to pixels, every other time in shifted windows."""
    if place % 2:
        return _Channels(features, heads)
    # Groups begin by turns with windows that are not shifted, and with such that are.
    return _Pixels(features, heads, split, shift=place % 4 == (0 if group % 2 else 2))


class _Block(nn.Module):
    def __init__(self, features: int, mixer: nn.Module, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(features)
        self.attn = mixer
        self.norm2 = nn.LayerNorm(features)
        self.ffn = _GatedFeedForward(features, features * ratio)

    def forward(self, grid: Tensor) -> Tensor:
        grid = grid + self.attn(self.norm1(grid))
        out: Tensor = grid + self.ffn(self.norm2(grid))
        return out


class _GatedFeedForward(nn.Module):
    """Two linear layers; between them, half of the channels gates the other half."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        half = hidden // 2
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(half, features)
        self.sg = nn.ModuleDict({"norm": nn.LayerNorm(half), "conv": conv(half, half, groups=half)})

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        own, gate = F.gelu(self.fc1(grid)).chunk(2, 3)
        out: Tensor = self.fc2(own * to_grid(self.sg["conv"](to_batch(self.sg["norm"](gate)))))
        return out


class _Mixer(nn.Module):
    """Attention in parallel with a convolution of its values; each is weighted by the other."""

    def __init__(self, features: int) -> None:
        super().__init__()
        by_channel, by_pixel = features // 8, features // 16
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)
        self.dwconv = nn.Sequential(
            conv(features, features, groups=features), nn.BatchNorm2d(features), nn.GELU()
        )
        self.channel_interaction = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            conv(features, by_channel, 1),
            nn.BatchNorm2d(by_channel),
            nn.GELU(),
            conv(by_channel, features, 1),
        )
        self.spatial_interaction = nn.Sequential(
            conv(features, by_pixel, 1), nn.BatchNorm2d(by_pixel), nn.GELU(), conv(by_pixel, 1, 1)
        )

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        qkv = self.qkv(grid)
        mixed = to_batch(self.attend(qkv))
        beside = self.dwconv(to_batch(qkv.chunk(3, 3)[2]))
        out: Tensor = self.proj(to_grid(self.combine(mixed, beside)))
        return out

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend: (N, H, W, 3C) of queries, keys and values to (N, H, W, C)."""
        raise NotImplementedError

    def combine(self, mixed: Tensor, beside: Tensor) -> Tensor:
        """Add both (N, C, H, W), each weighted by the other."""
        raise NotImplementedError

    def weigh_channels(self, batch: Tensor) -> Tensor:
        """Compute weights (N, C, 1, 1) from (N, C, H, W)."""
        return torch.sigmoid(self.channel_interaction(batch))

    def weigh_pixels(self, batch: Tensor) -> Tensor:
        """Compute weights (N, 1, H, W) from (N, C, H, W)."""
        return torch.sigmoid(self.spatial_interaction(batch))


class _Pixels(_Mixer):
    """Attention within windows that lie for half of the channels, and stand for the others."""

    def __init__(self, features: int, heads: int, split: Size, shift: bool) -> None:
        super().__init__(features)
        self.heads, self.split, self.shift = heads, split, shift
        self.attns = nn.ModuleList(
            nn.ModuleDict({"pos": _PositionBias(features // 8, heads // 2)}) for _ in range(2)
        )

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend within windows; sides are padded with zeros to multiples of the windows."""
        height, width = qkv.shape[1:3]
        multiple = max(self.split)
        padded = F.pad(qkv, (0, 0, 0, -width % multiple, 0, -height % multiple))
        queries, keys, values = (each.chunk(2, 3) for each in padded.chunk(3, 3))
        sizes = (self.split, (self.split[1], self.split[0]))
        halves = [
            self._half(torch.cat(half, 3), size, attention["pos"])  # type: ignore[index]
            for half, size, attention in zip(
                zip(queries, keys, values, strict=True), sizes, self.attns, strict=True
            )
        ]
        return torch.cat(halves, 3)[:, :height, :width]

    def _half(self, qkv: Tensor, size: Size, places: nn.Module) -> Tensor:
        shift = (size[0] // 2, size[1] // 2) if self.shift else (0, 0)
        bias = relative_position_bias(places(_list_positions(size, qkv)), size)
        return attend_in_windows(qkv, size, self.heads // 2, bias, shift)

    def combine(self, mixed: Tensor, beside: Tensor) -> Tensor:
        """Weight attention by channels, the convolution by pixels."""
        return mixed * self.weigh_channels(beside) + beside * self.weigh_pixels(mixed)


def _list_positions(size: Size, like: Tensor) -> Tensor:
    """List all relative positions in a window: ((2h - 1) * (2w - 1), 2)."""
    steps = (torch.arange(1 - side, side, dtype=like.dtype, device=like.device) for side in size)
    return torch.cartesian_prod(*steps)


class _Channels(_Mixer):
    """Attention between the channels of a head, by how alike they are over the image."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__(features)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend between the channels of each head."""
        heads = len(self.temperature)
        # (N, heads, channels of a head, pixels)
        split = (split_axis(each.flatten(1, 2).mT, 1, heads) for each in qkv.chunk(3, 3))
        queries, keys, values = split
        alike = F.normalize(queries, dim=3) @ F.normalize(keys, dim=3).mT
        out = torch.softmax(alike * self.temperature, 3) @ values
        return out.permute(0, 3, 1, 2).reshape(*qkv.shape[:3], -1)

    def combine(self, mixed: Tensor, beside: Tensor) -> Tensor:
        """Weight attention by pixels, the convolution by channels."""
        return mixed * self.weigh_pixels(beside) + beside * self.weigh_channels(mixed)


class _PositionBias(nn.Module):
    """A small network that computes a bias for each relative position and head."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        few = features // 4
        self.pos_proj = nn.Linear(2, few)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(few), nn.ReLU(), nn.Linear(few, outputs))
            for outputs in (few, few, heads)
        )

    def forward(self, differences: Tensor) -> Tensor:
        """Map (D, 2) to (D, heads)."""
        out: Tensor = self.pos3(self.pos2(self.pos1(self.pos_proj(differences))))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop what the network computes itself; add the batch counters that some files lack."""
    worked_out = (".rpe_biases", ".relative_position_index", ".attn_mask_0", ".attn_mask_1")
    means = (key for key in state if key.endswith(".running_mean"))
    counters = (f"{key.removesuffix('running_mean')}num_batches_tracked" for key in means)
    return drop_keys({**dict.fromkeys(counters, torch.tensor(0)), **state}, *worked_out)


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show; the windows, only if the file has their positions."""
    hidden, features = state["layers.0.blocks.0.ffn.fc1.weight"].shape
    positions = state.get("layers.0.blocks.0.attn.attns.0.rpe_biases")
    split = {} if positions is None else {"split": [int(side) + 1 for side in positions[-1]]}
    return {
        "groups": count_numbers(state, "layers."),
        "blocks": count_numbers(state, "layers.0.blocks."),
        "heads": state["layers.0.blocks.1.attn.temperature"].shape[0],
        "ratio": hidden // features,
        "narrow": "conv_after_body.0.weight" in state,
        **split,
        **describe_end(state),
    }
