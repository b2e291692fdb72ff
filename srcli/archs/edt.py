"""EDT: SwinIR's body with horizontal and vertical windows, between a small convolutional encoder and decoder.

Keys as in the authors' code (fenglinglwb/EDT): head_sr_x2, body, tail_sr_x2 and so on, by scale; files for
one scale are read, not those that have heads and tails for several tasks.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    OVERLAP,
    Size,
    attend,
    drop_keys,
    init_transformer,
    merge_windows,
    pad_to_multiple,
    shift_windows,
    split_axis,
    split_windows,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import MeanShift, conv, make_upsampler

PAPER = Paper(
    "On Efficient Transformer-Based Image Pre-training for Low-Level Vision",
    2023,
    "https://arxiv.org/abs/2112.10175",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
TINY: dict[str, Any] = {"features": 60, "groups": 4, "width": 8, "end": "direct"}
SMALL: dict[str, Any] = {"features": 120, "groups": 5, "width": 16}
LARGE: dict[str, Any] = {"features": 240, "groups": 12, "heads": 8, "width": 64}
VARIANTS: tuple[dict[str, Any], ...] = ({}, TINY, SMALL, LARGE)
FACTS = Facts(
    small={
        "features": 24,
        "groups": 1,
        "blocks": 2,
        "heads": 2,
        "width": 8,
        "window": [2, 6],
        "end": "direct",
    },
    counts=(
        Count(2, 11_479_355),  # B: 11.5M
        Count(4, 11_627_067),  # 11.6M
        Count(2, 916_924, TINY),  # 0.9M
        Count(2, 4_230_323, SMALL),  # 4.2M
        Count(2, 39_927_395, LARGE),  # 40.2M
    ),
    export_errors={"ncnn": "windows", "onnx": "windows", "torchscript": "windows"},
)


class Network(nn.Module):
    """EDT-B by default; `VARIANTS` has T, S and L.

    `width`: features of the first convolution; `window`: height and width of the windows of half of the
    channels; `end`: pixel shuffles in "steps" or one ("direct").
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 180,
        groups: int = 6,
        blocks: int = 6,
        heads: int = 6,
        width: int = 32,
        window: tuple[int, int] = (6, 24),
        ratio: int = 2,
        end: str = "steps",
    ) -> None:
        super().__init__()
        self.channels, self.halo, self.alignment = 3, OVERLAP, max(window)
        self.scale, self.works_in = scale, "windows"
        self.shift = MeanShift(1.0, 1.0)
        first, second = 2 * width, 4 * width
        self.head = nn.ModuleList(
            (
                conv(3, width),
                _Residual(width, width, first),
                _Residual(first, first, second),
                conv(second, features),
            )
        )
        shape = (features, heads, (window[0], window[1]), ratio)
        self.body = _Body(
            features, [[_Block(*shape, place) for place in range(blocks)] for _ in range(groups)]
        )
        self.tail = nn.ModuleList((_Skip(features, second), _Skip(second, first)))
        if end == "direct":
            self.tail.append(nn.Sequential(conv(first, 3 * scale**2), nn.PixelShuffle(scale)))
        else:
            self.tail.extend((make_upsampler(scale, first), conv(first, 3)))
        self.apply(init_transformer)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        height, width = batch.shape[2:]
        shifted = self.shift.enter(pad_to_multiple(batch, self.alignment))
        features, skipped = shifted, []
        for layer in self.head:
            features = layer(features)
            skipped.append(features)
        features = self.body(features)
        for layer, skip in zip(self.tail[:2], (skipped[2], skipped[1]), strict=True):
            features = layer(features, skip)
        for layer in self.tail[2:]:
            features = layer(features)
        large = F.interpolate(shifted, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return self.shift.leave(large + features)[:, :, : height * self.scale, : width * self.scale]


class _Residual(nn.Module):
    """Two convolutions beside a 1x1 one."""

    def __init__(self, inputs: int, between: int, outputs: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = conv(inputs, between), conv(between, outputs)
        self.shortcut = conv(inputs, outputs, 1)

    def forward(self, batch: Tensor) -> Tensor:
        deep = F.leaky_relu(self.conv_2(F.leaky_relu(self.conv_1(batch), 0.2)), 0.2)
        out: Tensor = deep + self.shortcut(batch)
        return out


class _Skip(nn.Module):
    """A skip connection: features from the body joined with those from the encoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs)
        self.block = _Residual(2 * outputs, outputs, outputs)

    def forward(self, batch: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.block(torch.cat((self.conv(batch), skip), 1))
        return out


class _Body(nn.Module):
    """Groups of blocks, each with a skip connection, and a convolution."""

    def __init__(self, features: int, groups: list[list[nn.Module]]) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(features)})
        self.layers = nn.ModuleList(
            nn.ModuleDict({"residual_group": nn.ModuleDict({"blocks": nn.Sequential(*blocks)})})
            for blocks in groups
        )
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = conv(features, features)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, multiples of the windows."""
        grid = self.patch_embed["norm"](to_grid(batch))
        for layer in self.layers:
            grid = grid + layer["residual_group"]["blocks"](grid)  # type: ignore[index]
        out: Tensor = batch + self.conv_after_body(to_batch(self.norm(grid)))
        return out


class _Block(nn.Module):
    """Attention within horizontal windows for half of the channels, vertical for the rest; then an MLP."""

    def __init__(self, features: int, heads: int, window: Size, ratio: int, place: int) -> None:
        super().__init__()
        self.heads, self.window, self.later = heads, window, bool(place % 2)
        self.norm1 = nn.LayerNorm(features)
        self.attns = nn.ModuleList(
            nn.ModuleDict({"lepe": conv(features // 2, features // 2, groups=features // 2)})
            for _ in range(2)
        )
        self.norm2 = nn.LayerNorm(features)
        self.mlp = _ConvMlp(features, features * ratio)
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape, multiples of both sides of the windows."""
        qkv = zip(*(each.chunk(2, 3) for each in self.qkv(self.norm1(grid)).chunk(3, 3)), strict=True)
        sizes = (self.window, (self.window[1], self.window[0]))
        halves = [
            self._attend_half(torch.cat(half, 3), size, attention["lepe"])  # type: ignore[index]
            for half, size, attention in zip(qkv, sizes, self.attns, strict=True)
        ]
        grid = grid + self.proj(torch.cat(halves, 3))
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out

    def _attend_half(self, qkv: Tensor, size: Size, beside: nn.Module) -> Tensor:
        """Attend within windows of `size`, and add the convolved values of each window."""
        shift = (size[0] // 2, size[1] // 2) if self.later else (0, 0)
        moved, mask = shift_windows(qkv, size, shift)
        queries, keys, values = split_windows(moved, size).chunk(3, 2)
        mixed = attend((queries, keys, values), self.heads, None, mask)
        mixed = mixed + beside(split_axis(values.mT, 2, size[0])).flatten(2).mT
        out = merge_windows(mixed, size, *qkv.shape[1:3])
        return torch.roll(out, shift, (1, 2)) if self.later else out


class _ConvMlp(nn.Module):
    """Two linear layers, and between them a 5x5 convolution of each channel."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, features)
        self.dwconv = conv(hidden, hidden, 5, groups=hidden)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        hidden = self.dwconv(to_batch(F.gelu(self.fc1(grid))))
        out: Tensor = self.fc2(to_grid(F.gelu(hidden)))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename heads and tails without their scale; drop the masks, which the network computes."""
    scales = {key.split(".")[0].removeprefix("head_sr_x") for key in state if key.startswith("head_sr_x")}
    if len(scales) != 1:
        return drop_keys(state, ".attn_mask_h", ".attn_mask_v")
    (scale,) = scales
    return {
        key.replace(f"_sr_x{scale}.", "."): value
        for key, value in drop_keys(state, ".attn_mask_h", ".attn_mask_v").items()
    }
