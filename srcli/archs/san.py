"""SAN: groups of residual blocks with attention by covariance.

Keys as in the authors' code (daitao/SAN): head, non_local, gamma, RG, tail.

The authors attend within the quarters of an image, and cut what is larger than 400x400 into pieces before.
Here it is cut into cells of 384x384, each in quarters, so that a tile has the regions of the whole image; up
to that size the network is the authors' exactly.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    MeanShift,
    conv,
    disable_autocast,
    drop_mean_shift,
    make_upsampler,
    non_local_attention,
    rename_keys,
)

PAPER = Paper(
    "Second-order Attention Network for Single Image Super-Resolution",
    2019,
    "https://doi.org/10.1109/CVPR.2019.01132",
)
TRAITS = Traits(scales=(2, 3, 4, 8), local=False)
FACTS = Facts(
    small={"groups": 2, "blocks": 1, "features": 32, "cell": 96, "span": 1.0, "mean": 1.0},
    counts=(
        Count(2, 15_674_732),  # 15.71M with 38K that the authors' network has and never uses
        Count(3, 15_859_372),  # 15.90M
        Count(4, 15_822_444),  # 15.86M
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(nn.Module):
    """Twenty groups of ten blocks. `cell`: what has quarters of its own. `span`, `mean`: see `MeanShift`."""

    def __init__(
        self,
        *,
        scale: int,
        groups: int = 20,
        blocks: int = 10,
        features: int = 64,
        cell: int = 384,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        self.alignment = cell
        self.works_in = "cells"
        # As RCAN: an overlap, as a tile's covariance is not the image's however wide it is.
        self.halo = min(64, groups * (2 * blocks + 1) + 3)
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        self.non_local = _Quarters(features, features // 8, cell)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.RG = nn.ModuleList(_Group(features, blocks) for _ in range(groups))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.head(self.shift.enter(batch))
        features = source = self.non_local(shallow)
        for group in self.RG:
            features = group(features) + self.gamma * source
        return self.shift.leave(self.tail(shallow + self.non_local(features)))


class _Quarters(nn.Module):
    """Non-local attention within the quarters of a cell, to keys and values pooled by 2x2."""

    def __init__(self, features: int, squeezed: int, cell: int) -> None:
        super().__init__()
        self.cell = cell
        self.theta, self.phi, self.g = (conv(features, squeezed, 1) for _ in range(3))
        self.W = conv(squeezed, features, 1)
        nn.init.zeros_(self.W.weight)
        nn.init.zeros_(self.W.bias)  # type: ignore[arg-type]

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        qkv = torch.cat((self.theta(batch), self.phi(batch), self.g(batch)), 1)
        rows, columns = (_split_cells(side, self.cell) for side in batch.shape[2:])
        bands = (
            torch.cat([_attend_region(region) for region in torch.split(band, columns, 3)], 3)
            for band in torch.split(qkv, rows, 2)
        )
        out: Tensor = batch + self.W(torch.cat(list(bands), 2))
        return out


def _split_cells(length: int, cell: int) -> list[int]:
    """Return the lengths of both halves of each cell along an axis; the last cell has the rest."""
    cells = [min(cell, length - start) for start in range(0, length, cell)]
    return [half for side in cells for half in (side // 2, side - side // 2)]


def _attend_region(qkv: Tensor) -> Tensor:
    """Attend within (N, 3C, H, W) of queries, keys and values: (N, C, H, W)."""
    queries, keys, values = qkv.chunk(3, 1)
    if min(qkv.shape[2:]) < 2:
        return torch.zeros_like(queries)  # nothing is left of keys that are pooled
    return non_local_attention(queries, F.max_pool2d(keys, 2), F.max_pool2d(values, 2))


class _Group(nn.Module):
    """Residual blocks, attention and a convolution, with a skip connection."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.rcab = nn.ModuleList(_Block(features) for _ in range(blocks))
        self.soca = _SecondOrder(features)
        self.conv_last = conv(features, features)

    def forward(self, batch: Tensor) -> Tensor:
        features = batch
        for block in self.rcab:
            features = block(features)
        out: Tensor = batch + self.conv_last(self.soca(features))
        return out


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_first = nn.Sequential(conv(features, features), nn.ReLU(), conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.conv_first(batch)
        return out


class _SecondOrder(nn.Module):
    """Channels weighted by how they vary together: by the means of the rows of their covariance's root."""

    # Of larger images the authors look at the middle.
    LARGEST = 1000

    def __init__(self, features: int, reduction: int = 16) -> None:
        super().__init__()
        squeezed = features // reduction
        self.conv_du = nn.Sequential(
            conv(features, squeezed, 1), nn.ReLU(), conv(squeezed, features, 1), nn.Sigmoid()
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        with disable_autocast(batch):  # the root is lost in half precision
            single = batch.to(torch.promote_types(batch.dtype, torch.float32))
            summary = _root(_covariance(_crop_middle(single, self.LARGEST))).mean(1)
        out: Tensor = batch * self.conv_du(summary[:, :, None, None])
        return out


def _crop_middle(batch: Tensor, largest: int) -> Tensor:
    top, left = (max(0, (side - largest) // 2) for side in batch.shape[2:])
    return batch[:, :, top : top + largest, left : left + largest]


def _covariance(batch: Tensor) -> Tensor:
    """Compute the covariance of channels: (N, C, H, W) to (N, C, C)."""
    centred = batch.flatten(2) - batch.mean((2, 3))[:, :, None]
    return centred @ centred.mT / centred.shape[2]


def _root(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximate the square root of (N, C, C) by Newton and Schulz's iteration, scaled by the trace.

    The coupled form of Li et al., https://arxiv.org/abs/1712.01034. Zero has itself as root.
    """
    # A flat image has no trace, and there the root no gradient: it is kept just above zero.
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(1e-12)
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    root, inverse = matrix / trace, identity.expand_as(matrix)
    for _ in range(steps):
        change = 1.5 * identity - 0.5 * inverse @ root
        root, inverse = root @ change, change @ inverse
    return root * trace.sqrt()


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors, and those that the authors' network has and never uses."""
    rules = {r"^non_local\.non_local\.": "non_local.", r"^non_local\.(g|phi)\.0\.": r"non_local.\1."}
    unused = ("conv_last.", "non_local.soca.")
    return {
        key: value
        for key, value in rename_keys(drop_mean_shift(state), rules).items()
        if not key.startswith(unused) and not (key.startswith("RG.") and key.endswith(".gamma"))
    }
