"""OmniSR: attention over pixels and channels, within windows and over pixels that lie far apart, by turns.

Keys as in the authors' code (Francis0625/Omni-SR): input, residual_layer, output, up. Their files take -1..1.

The pixels that lie far apart are an eighth of the image from each other. Here each cell of 256x256 is
restored alone, with 16 pixels more on each side: up to that size the network is the authors' exactly, and as
cells lie at multiples of their side, tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    attend,
    count_window,
    gather_dilated,
    merge_windows,
    relative_position_bias,
    scatter_dilated,
    split_axis,
    split_windows,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import MeanShift, SpatialAttention, conv, count_numbers, run_by_cells

PAPER = Paper(
    "Omni Aggregation Networks for Lightweight Image Super-Resolution",
    2023,
    "https://arxiv.org/abs/2304.10244",
)
TRAITS = Traits(scales=(2, 3, 4, 1))
FACTS = Facts(
    small={"features": 16, "groups": 1, "window": 4, "cell": 12, "overlap": 4},
    counts=(
        Count(2, 784_604),  # 772K and 12,880 that the paper does not count
        Count(4, 805_376),  # 792K and as many
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)

HEADS = 4


class Network(nn.Module):
    """Five groups of one block. `cell`: the side of what is restored; `overlap`: what it sees around.

    `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        groups: int = 5,
        blocks: int = 1,
        window: int = 8,
        cell: int = 256,
        overlap: int = 16,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.scale, self.window, self.overlap = scale, window, overlap
        self.alignment, self.works_in = cell, "cells"
        self.halo = cell - 1 + overlap
        self.shift = MeanShift(span=2.0, mean=0.0, offset=-1.0, channels=channels)
        self.residual_layer = nn.Sequential(*(_Group(features, blocks, window) for _ in range(groups)))
        self.input, self.output = conv(channels, features), conv(features, features)
        self.up = nn.Sequential(conv(features, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        return run_by_cells(batch, self.alignment, self.overlap, self.scale, self._restore)

    def _restore(self, batch: Tensor) -> Tensor:
        """Run the authors' network; zeros lie around sides that are not multiples of the window."""
        height, width = batch.shape[2:]
        least = -(-SpatialAttention.LEAST // self.window) * self.window
        missing = (max(least - side, -side % self.window) for side in (width, height))
        right, below = missing
        shallow = self.input(F.pad(self.shift.enter(batch), (0, right, 0, below)))
        out = self.shift.leave(self.up(shallow + self.output(self.residual_layer(shallow))))
        return out[:, :, : height * self.scale, : width * self.scale]


class _Group(nn.Module):
    """Blocks and a convolution with a skip connection, then spatial attention."""

    def __init__(self, features: int, blocks: int, window: int) -> None:
        super().__init__()
        layers = [_Block(features, window) for _ in range(blocks)]
        self.residual_layer = nn.Sequential(*layers, conv(features, features, 1))
        self.esa = SpatialAttention(features, max(features // 4, 16), ("conv3",), nn.ReLU())

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.esa(batch + self.residual_layer(batch))
        return out


class _Block(nn.Module):
    """A convolution; then pixels and channels mixed within windows; then both over pixels far apart."""

    def __init__(self, features: int, window: int) -> None:
        super().__init__()
        self.layer = nn.ModuleDict({"0": _PreNorm(None, _make_squeeze(features))})
        for first, spread in ((2, False), (8, True)):
            mixers = (_Pixels(features, window, spread), _Channels(features, window, spread))
            # The authors have layers without weights between these, so that numbers are left out.
            for number, mixer in zip((first, first + 3), mixers, strict=True):
                norm = nn.LayerNorm(features, eps=1e-5 if number == first else 1e-6)
                self.layer[str(number)] = _PreNorm(norm, mixer)
                after = first + 2 if number == first else first + 4
                self.layer[str(after)] = _PreNorm(nn.LayerNorm(features, eps=1e-6), _GatedConv(features))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, multiples of the window."""
        for number in sorted(self.layer, key=int):
            batch = self.layer[number](batch)
        return batch


class _PreNorm(nn.Module):
    """x + fn(norm(x))."""

    def __init__(self, norm: nn.LayerNorm | None, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = norm, fn

    def forward(self, batch: Tensor) -> Tensor:
        normal = batch if self.norm is None else to_batch(self.norm(to_grid(batch)))
        out: Tensor = batch + self.fn(normal)
        return out


def _make_squeeze(features: int) -> nn.Sequential:
    """Return a depthwise convolution between two 1x1 ones, with channels weighted by their means."""
    each = conv(features, features, groups=features)
    return nn.Sequential(
        conv(features, features, 1),
        nn.GELU(),
        each,
        nn.GELU(),
        _ChannelGate(features),
        conv(features, features, 1),
    )


class _ChannelGate(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        few = features // 4
        self.gate = nn.ModuleDict(
            {"1": nn.Linear(features, few, bias=False), "3": nn.Linear(few, features, bias=False)}
        )

    def forward(self, batch: Tensor) -> Tensor:
        few = F.silu(self.gate["1"](batch.mean((2, 3))))
        return batch * torch.sigmoid(self.gate["3"](few))[:, :, None, None]


class _GatedConv(nn.Module):
    """Half of the channels weighted by GELU of the other half, both convolved."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project_in = conv(features, 2 * features, 1, bias=False)
        self.dwconv = conv(2 * features, 2 * features, groups=2 * features, bias=False)
        self.project_out = conv(features, features, 1, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        gate, own = self.dwconv(self.project_in(batch)).chunk(2, 1)
        out: Tensor = self.project_out(F.gelu(gate) * own)
        return out


class _Pixels(nn.Module):
    """Attention of the pixels of a window, or of pixels spread evenly over all."""

    def __init__(self, features: int, window: int, spread: bool) -> None:
        super().__init__()
        self.size, self.spread = (window, window), spread
        self.to_qkv = nn.Linear(features, 3 * features, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(features, features, bias=False)])
        self.rel_pos_bias = nn.Embedding((2 * window - 1) ** 2, HEADS)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        grid = gather_dilated(to_grid(batch), self.size[0]) if self.spread else to_grid(batch)
        bias = relative_position_bias(self.rel_pos_bias.weight, self.size)
        mixed = attend(self.to_qkv(split_windows(grid, self.size)).chunk(3, 2), HEADS, bias)
        out = merge_windows(self.to_out[0](mixed), self.size, *batch.shape[2:])
        return to_batch(scatter_dilated(out, self.size[0]) if self.spread else out)


class _Channels(nn.Module):
    """Attention of the channels of a head, by how alike they are in a window or in pixels spread evenly."""

    def __init__(self, features: int, window: int, spread: bool) -> None:
        super().__init__()
        self.size, self.spread = (window, window), spread
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.qkv = conv(features, 3 * features, 1, bias=False)
        self.qkv_dwconv = conv(3 * features, 3 * features, groups=3 * features, bias=False)
        self.project_out = conv(features, features, 1, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        qkv = to_grid(self.qkv_dwconv(self.qkv(batch)))
        side, (height, width) = self.size[0], batch.shape[2:]
        # Here it is the others that are spread: pixels at the same place of all windows.
        size = (height // side, width // side) if self.spread else self.size
        cut = split_windows(gather_dilated(qkv, height // side, width // side) if self.spread else qkv, size)
        split = (split_axis(each.mT, 1, HEADS) for each in cut.chunk(3, 2))
        queries, keys, values = split
        alike = F.normalize(queries, dim=3) @ F.normalize(keys, dim=3).mT * self.temperature
        mixed = (torch.softmax(alike, 3) @ values).flatten(1, 2).mT
        out = merge_windows(mixed, size, height, width)
        back = scatter_dilated(out, height // side, width // side) if self.spread else out
        mixed_out: Tensor = self.project_out(to_batch(back))
        return mixed_out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop two convolutions of spatial attention that are never used; the sizes of files count them."""
    return {
        key: value
        for key, value in state.items()
        if ".esa.conv_max." not in key and ".esa.conv3_." not in key
    }


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["input.weight"].shape[:2]
    table = state["residual_layer.0.residual_layer.0.layer.2.fn.rel_pos_bias.weight"]
    return {
        "features": features,
        "groups": count_numbers(state, "residual_layer."),
        "blocks": count_numbers(state, "residual_layer.0.residual_layer.") - 1,
        "window": count_window(table),
        "channels": channels,
    }
