"""ENLCN: EDSR with attention over all pixels whose softmax is approximated by random features.

Keys as in the authors' code (Zj-BinXia/ENLCA): head, body, tail. Their training also pulls alike pixels apart
from others by a contrastive loss, which is not here.

What a pixel sees is a sum over the image. The authors' code cuts large images into pieces; here each cell of
192x192 is restored alone, with 16 pixels more on each side: up to that size the network is the authors'
exactly, and as cells lie at multiples of their side, tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import InterleavedAttention
from srcli.archs.blocks import conv, disable_autocast, drop_mean_shift

PAPER = Paper(
    "Efficient Non-Local Contrastive Attention for Image Super-Resolution",
    2022,
    "https://arxiv.org/abs/2201.03794",
)
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"blocks": 2, "features": 16, "samples": 16, "cell": 8, "overlap": 2},
    counts=(Count(4, 43_583_363),),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(InterleavedAttention):
    """Thirty-two blocks of 256. `samples`: random features; `cell`, `overlap`: see `InterleavedAttention`."""

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 32,
        features: int = 256,
        res_scale: float = 0.1,
        samples: int = 128,
        cell: int = 192,
        overlap: int = 16,
    ) -> None:
        super().__init__(
            scale,
            blocks,
            features,
            res_scale,
            (cell, overlap),
            lambda: _ApproximateAttention(features, samples, res_scale),
        )


class _ApproximateAttention(nn.Module):
    """Attention to all pixels, whose exponential kernel is approximated by random features."""

    # The square of how much products of unit vectors are amplified.
    AMPLIFIED = 6.0
    LEAST_NORM = 5e-5
    LEAST = 1e-4

    def __init__(self, features: int, samples: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        squeezed = features // 4
        self.conv_match1, self.conv_match2 = (nn.Sequential(conv(features, squeezed, 1)) for _ in range(2))
        self.conv_assembly = nn.Sequential(conv(features, features, 1))
        self.attn_fn = _Directions(samples, squeezed)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        queries, keys = (self._sample(layer(batch)) for layer in (self.conv_match1, self.conv_match2))
        values = self.conv_assembly(batch).flatten(2).to(keys.dtype)
        with disable_autocast(batch):
            seen = queries.mT @ (keys @ values.mT)
            total = queries.mT @ keys.sum(2, keepdim=True)
        out: Tensor = batch + self.weight * (seen / total).mT.reshape(batch.shape)
        return out

    def _sample(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to random features (N, samples, pixels), whose products approximate the kernel."""
        directions = self.attn_fn.projection_matrix
        with disable_autocast(batch):
            single = batch.flatten(2).to(directions.dtype)
            amplified = F.normalize(single, dim=1, eps=self.LEAST_NORM) * self.AMPLIFIED**0.5
            along = directions @ amplified - amplified.square().sum(1, keepdim=True) / 2
            sampled: Tensor = (along.exp() + self.LEAST) / len(directions) ** 0.5
        return sampled


class _Directions(nn.Module):
    """Random vectors that are kept with the weights."""

    projection_matrix: Tensor

    def __init__(self, samples: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("projection_matrix", _draw_directions(samples, channels))


def _draw_directions(samples: int, channels: int) -> Tensor:
    """Draw random vectors (samples, channels), `channels` at a time orthogonal to each other."""
    random = torch.Generator().manual_seed(0)

    def draw(rows: int) -> Tensor:
        return torch.randn(rows, channels, generator=random, device="cpu")

    blocks = [torch.linalg.qr(draw(channels))[0].T for _ in range(-(-samples // channels))]
    whole: Tensor = torch.cat(blocks)[:samples] * draw(samples).norm(dim=1, keepdim=True)
    return whole.to(torch.get_default_device())


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors; the other keys are ours."""
    return drop_mean_shift(state)
