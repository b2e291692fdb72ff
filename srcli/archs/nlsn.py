"""NLSN: EDSR with attention to the pixels that hashing puts into the same bucket.

Keys as in the authors' code (HarukiYqM/Non-Local-Sparse-Attention): head, body, tail.

Their code hashes by rotations that it draws anew each time, so that no two results are equal; here they are
drawn once, from a seed. It cuts large images into pieces; here each cell of 192x192 is restored alone, with
16 pixels more on each side: up to that size the network is the authors', and as cells lie at multiples of
their side, tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.attention import InterleavedAttention, split_axis
from srcli.archs.blocks import conv, drop_mean_shift

PAPER = Paper(
    "Image Super-Resolution with Non-Local Sparse Attention",
    2021,
    "https://doi.org/10.1109/CVPR46437.2021.00352",
)
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"blocks": 2, "features": 16, "cell": 8, "overlap": 2},
    counts=(
        Count(2, 41_796_163),  # the authors' code's, as the next
    ),
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)


class Network(InterleavedAttention):
    """Thirty-two blocks of 256. `chunk`: pixels that attend to each other and to as many on both sides.

    `hashes`: number of hash rounds, drawn from `seed`; `cell`, `overlap`: see
    `InterleavedAttention`.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 32,
        features: int = 256,
        res_scale: float = 0.1,
        chunk: int = 144,
        hashes: int = 4,
        seed: int = 0,
        cell: int = 192,
        overlap: int = 16,
    ) -> None:
        super().__init__(
            scale,
            blocks,
            features,
            res_scale,
            (cell, overlap),
            lambda: _HashedAttention(features, chunk, hashes, seed, res_scale),
        )


class _HashedAttention(nn.Module):
    """Sparse attention: pixels sorted by hash attend to their chunk and both neighbours, several times."""

    MOST_BUCKETS = 128
    LEAST_NORM = 5e-5

    def __init__(self, features: int, chunk: int, hashes: int, seed: int, weight: float) -> None:
        super().__init__()
        self.chunk, self.hashes, self.seed, self.weight = chunk, hashes, seed, weight
        self.conv_match = nn.Sequential(conv(features, features // 4))
        self.conv_assembly = nn.Sequential(conv(features, features, 1))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        asked, values = (layer(batch).flatten(2).mT for layer in (self.conv_match, self.conv_assembly))
        rounds = [self._attend_round(asked, values, codes) for codes in self._hash(asked).unbind(1)]
        mixed, strength = (torch.stack(each) for each in zip(*rounds, strict=True))
        found = (mixed * torch.softmax(strength, 0)).sum(0)
        return batch + self.weight * found.mT.reshape(batch.shape)

    def _hash(self, asked: Tensor) -> Tensor:
        """Hash (N, L, C) to the nearest random direction in each round: (N, rounds, L)."""
        count = asked.shape[1] // self.chunk
        buckets = max(2, min(count + count % 2, self.MOST_BUCKETS))
        random = torch.Generator().manual_seed(self.seed)
        shape = (asked.shape[2], self.hashes * (buckets // 2))
        turns = torch.randn(shape, generator=random, device="cpu").to(asked)
        along = split_axis(asked.detach() @ turns, 2, self.hashes)
        return torch.cat((along, -along), 3).argmax(3).mT

    def _attend_round(self, asked: Tensor, values: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Attend for one hash: return values (N, L, C) and their strengths (N, L, 1)."""
        order = codes.argsort(dim=1, stable=True)
        size = min(self.chunk, asked.shape[1])
        queries, seen = (_split_chunks(_reorder(each, order), size) for each in (asked, values))
        keys = _join_neighbours(F.normalize(queries, dim=3, eps=self.LEAST_NORM))
        products = queries @ keys.mT
        strength = products.logsumexp(3, keepdim=True)
        found = (products - strength).exp() @ _join_neighbours(seen)
        back = order.argsort(dim=1)
        mixed, weight = (
            _reorder(each.flatten(1, 2)[:, : order.shape[1]], back) for each in (found, strength)
        )
        return mixed, weight


def _reorder(rows: Tensor, order: Tensor) -> Tensor:
    """Reorder (N, L, C) by (N, L)."""
    return rows.gather(1, order[:, :, None].expand(-1, -1, rows.shape[2]))


def _split_chunks(rows: Tensor, size: int) -> Tensor:
    """Split (N, L, C) into (N, chunks, size, C); the last chunk is filled up with the last pixels."""
    missing = -rows.shape[1] % size
    whole = torch.cat((rows, rows[:, rows.shape[1] - missing :]), 1)
    return whole.reshape(len(rows), -1, size, rows.shape[2])


def _join_neighbours(chunks: Tensor) -> Tensor:
    """Join each chunk with the ones before and after, cyclically: (N, chunks, L, C) to (N, chunks, 3L, C)."""
    return torch.cat((chunks, chunks.roll(1, 1), chunks.roll(-1, 1)), 2)


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors; the other keys are ours."""
    return drop_mean_shift(state)
