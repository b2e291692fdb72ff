"""MAXIM-SR: MAXIM's blocks, which mix pixels by gated linear layers, in a network of one scale for enlarging.

Ours: MAXIM's paper has a U-Net for images whose size stays, and did not enlarge any. Taken from it are the
block (one half of the channels mixed within windows, the other over pixels spread evenly, each gated by what
a linear layer over places says) and the block with channel attention after it; the frame is that of SRResNet
and SwinIR. There is no publication to compare with.

Pixels spread evenly depend on the image's size. Each cell of 48x48 is restored alone, with 8 pixels more on
each side, so that the network sees 64x64 as in training; tiles change nothing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import (
    gather_dilated,
    merge_windows,
    pad_to_multiple,
    scatter_dilated,
    split_windows,
    to_batch,
    to_grid,
)
from srcli.archs.blocks import ChannelAttention, MeanShift, conv, make_upsampler, run_by_cells

PAPER = Paper("MAXIM: Multi-Axis MLP for Image Processing", 2022, "https://arxiv.org/abs/2201.02973")
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"features": 8, "blocks": 1, "window": 4, "cell": 8, "overlap": 4},
    counts=(
        Count(2, 1_201_027),  # ours
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(nn.Module):
    """Eight blocks of 64 features. `window`: of pixels that are mixed; `cell`, `overlap`: multiples of it."""

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        blocks: int = 8,
        window: int = 8,
        cell: int = 48,
        overlap: int = 8,
    ) -> None:
        super().__init__()
        self.channels, self.scale, self.window = 3, scale, window
        self.alignment, self.overlap, self.works_in = cell, overlap, "cells"
        self.halo = cell - 1 + overlap
        self.shift = MeanShift(1.0, 1.0)
        self.head = conv(3, features)
        layers = (nn.Sequential(_MultiAxis(features, window), _ConvBlock(features)) for _ in range(blocks))
        self.body = nn.Sequential(*layers, conv(features, features))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return run_by_cells(batch, self.alignment, self.overlap, self.scale, self._restore)

    def _restore(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[2:]
        shallow = self.head(self.shift.enter(pad_to_multiple(batch, self.window)))
        out = self.shift.leave(self.tail(shallow + self.body(shallow)))
        return out[:, :, : height * self.scale, : width * self.scale]


class _MultiAxis(nn.Module):
    """Half of the channels mixed within windows, half over evenly spread pixels, with a skip connection."""

    def __init__(self, features: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(features)
        self.enter, self.leave = nn.Linear(features, 2 * features), nn.Linear(2 * features, features)
        self.spread, self.near = (_GatedMlp(features, window**2) for _ in range(2))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, multiples of the window."""
        far, near = F.gelu(self.enter(self.norm(to_grid(batch)))).chunk(2, 3)
        far = scatter_dilated(self._mix(self.spread, gather_dilated(far, self.window)), self.window)
        both = torch.cat((far, self._mix(self.near, near)), 3)
        return batch + to_batch(self.leave(both))

    def _mix(self, layer: nn.Module, grid: Tensor) -> Tensor:
        size = (self.window, self.window)
        return merge_windows(layer(split_windows(grid, size)), size, *grid.shape[1:3])


class _GatedMlp(nn.Module):
    """Half of the channels gated by a linear layer over the places of a window, applied to the rest."""

    def __init__(self, features: int, places: int) -> None:
        super().__init__()
        self.norm, self.gate_norm = nn.LayerNorm(features), nn.LayerNorm(features)
        self.enter, self.leave = nn.Linear(features, 2 * features), nn.Linear(features, features)
        self.places = nn.Linear(places, places)

    def forward(self, cut: Tensor) -> Tensor:
        """Map (B, L, C) to the same shape."""
        own, gate = F.gelu(self.enter(self.norm(cut))).chunk(2, 2)
        gate = self.places(self.gate_norm(gate).mT).mT
        out: Tensor = cut + self.leave(own * (gate + 1))
        return out


class _ConvBlock(nn.Module):
    """Two convolutions and channel attention, with a skip connection."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.body = nn.Sequential(
            conv(features, features),
            nn.LeakyReLU(0.2),
            conv(features, features),
            ChannelAttention(features, 4),
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out: Tensor = batch + self.body(to_batch(self.norm(to_grid(batch))))
        return out
