"""DRLN: densely connected residual blocks with an attention to channels that they call Laplacian.

Keys as in the authors' code (saeed-anwar/DRLN): head, b1 to b20, c1 to c20, upsample, tail. Their files take
0..255 less a mean colour of 1, those on the Hub (eugenesiow/drln, drln-bam) [0, 1]: `span` 1. DRLN-BAM has
balanced attention.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import BalancedAttention, Body, MeanShift, conv, drop_mean_shift, make_upsampler

PAPER = Paper("Densely Residual Laplacian Super-Resolution", 2020, "https://arxiv.org/abs/1906.12021")
TRAITS = Traits(scales=(2, 3, 4, 8), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"bam": True, "span": 1.0})
FACTS = Facts(
    small={"cascades": [1, 2], "features": 16, "span": 1.0},
    counts=(
        Count(2, 34_356_339),  # 34.43M with 74K that the authors' network has and never uses
        Count(4, 34_504_051),  # super-image's less as many
    ),
)

# How many blocks lie between two of the long connections.
CASCADES = (3, 3, 3, 3, 4, 4)

# The authors' network computes the fusion after its fourth block and gives the fifth the input of the fourth.
UNUSED = 4


class Network(nn.Module):
    """Six cascades of 3 or 4 blocks of 64. `bam`: balanced attention. `span`, `mean`: see `MeanShift`."""

    def __init__(
        self,
        *,
        scale: int,
        cascades: Sequence[int] = CASCADES,
        features: int = 64,
        bam: bool = False,
        span: float = 255.0,
        mean: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.cascades = 3, tuple(cascades)
        # Seven per block (three more with balanced attention), head, upsampler and tail; but tiles
        # whose means differ by their content are not made equal by more than some overlap.
        self.halo = min(64, (10 if bam else 7) * sum(cascades) + 3)
        self.shift = MeanShift(span, mean)
        self.head = conv(3, features)
        for number, place in enumerate(place for length in cascades for place in range(length)):
            self.add_module(f"b{number + 1}", _Block(features, bam))
            if number + 1 != UNUSED:
                self.add_module(f"c{number + 1}", Body(conv((place + 2) * features, features), nn.ReLU()))
        self.upsample = nn.ModuleDict({"up": Body(*make_upsampler(scale, features, act=nn.ReLU))})
        self.tail = conv(features, 3)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        start = fused = shallow = self.head(self.shift.enter(batch))
        numbers = itertools.count(1)
        for length in self.cascades:
            entered, seen = start, fused
            for number in itertools.islice(numbers, length):
                seen = torch.cat((seen, self.get_submodule(f"b{number}")(entered)), 1)
                if number != UNUSED:
                    entered = fused = self.get_submodule(f"c{number}")(seen)
            start = fused + start
        return self.shift.leave(self.tail(self.upsample["up"](start + shallow)))


class _Block(nn.Module):
    """Three residual units, each on all before it, fused by 1x1 and weighted by attention."""

    def __init__(self, features: int, bam: bool) -> None:
        super().__init__()
        self.r1, self.r2, self.r3 = (_Residual(times * features) for times in (1, 2, 4))
        self.g = Body(conv(8 * features, features, 1), nn.ReLU())
        self.ca = BalancedAttention(features) if bam else _LaplacianAttention(features)

    def forward(self, batch: Tensor) -> Tensor:
        seen = batch
        for unit in (self.r1, self.r2, self.r3):
            seen = torch.cat((seen, unit(seen)), 1)
        out: Tensor = self.ca(self.g(seen))
        return out


class _Residual(Body):
    """relu(x + conv(relu(conv(x))))."""

    def __init__(self, features: int) -> None:
        super().__init__(conv(features, features), nn.ReLU(), conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        return F.relu(batch + super().forward(batch))


class _LaplacianAttention(nn.Module):
    """Channels weighted by their means, which three convolutions with different dilations see.

    On the one pixel of the means all of them see no more than its centre.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        few = features // 16
        self.c1, self.c2, self.c3 = (
            Body(nn.Conv2d(features, few, 3, padding=dilation, dilation=dilation), nn.ReLU())
            for dilation in (3, 5, 7)
        )
        self.c4 = Body(conv(3 * few, features), nn.Sigmoid())

    def forward(self, batch: Tensor) -> Tensor:
        means = batch.mean((2, 3), keepdim=True)
        weights: Tensor = self.c4(torch.cat((self.c1(means), self.c2(means), self.c3(means)), 1))
        return batch * weights


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors and the fusion that is never used; the other keys are ours."""
    return {key: value for key, value in drop_mean_shift(state).items() if not key.startswith(f"c{UNUSED}.")}
