"""CARN: residual blocks whose results cascade into 1x1 convolutions.

Keys as in the authors' code (nmhkahn/CARN-pytorch): entry, b1 to b3 and c1 to c3 twice over, upsample, exit.
The Hub's CARN-BAM (eugenesiow/carn-bam) has balanced attention after the outer fusions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import BalancedAttention, Body, MeanShift, conv, drop_mean_shift, make_upsampler

PAPER = Paper(
    "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network",
    2018,
    "https://arxiv.org/abs/1803.08664",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"tails": [2, 3, 4]},
    {"tails": [2, 3, 4], "groups": 4, "recursive": True},
    {"tails": [2, 3, 4], "bam": True},
)
FACTS = Facts(
    small={"features": 16},
    counts=(
        Count(2, 1_591_939, {"tails": [2, 3, 4]}),  # 1592K
        Count(4, 1_593_634, {"tails": [2, 3, 4], "bam": True}),  # super-image's
        Count(2, 414_787, {"tails": [2, 3, 4], "groups": 4, "recursive": True}),  # 412K
    ),
)


class _Cascade(nn.Module):
    """Three steps, each seeing all before it through a 1x1 convolution; one step three times if recursive."""

    def __init__(self, step: Callable[[], nn.Module], features: int, recursive: bool) -> None:
        super().__init__()
        self.b1 = step()
        if not recursive:
            self.b2, self.b3 = step(), step()
        self.steps = ("b1", "b1", "b1") if recursive else ("b1", "b2", "b3")
        self.c1, self.c2, self.c3 = (_Fusion(count * features, features) for count in (2, 3, 4))

    def forward(self, batch: Tensor) -> Tensor:
        known = out = batch
        for name, fusion in zip(self.steps, (self.c1, self.c2, self.c3), strict=True):
            known = torch.cat((known, self.get_submodule(name)(out)), 1)
            out = fusion(known)
        return out


class Network(_Cascade):
    """CARN; CARN-M has `groups` 4 and is `recursive`, sharing its blocks' weights.

    `tails`: the scales that the file has upsamplers for; the published ones have all three. `bam`: balanced
    attention.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 64,
        groups: int = 1,
        recursive: bool = False,
        tails: Sequence[int] = (),
        bam: bool = False,
    ) -> None:
        def residual() -> nn.Module:
            return _Efficient(features, groups) if recursive else _Residual(features)

        super().__init__(lambda: _Cascade(residual, features, recursive), features, recursive=False)
        self.channels = 3
        self.scale = scale
        # Head, two for each of nine residual blocks, upsampler, and the tail on enlarged pixels.
        self.halo = 1 + 18 + 3
        if bam:
            self.halo += 9
            for name in ("c1", "c2", "c3"):
                attention = BalancedAttention(features)
                self.add_module(name, nn.Sequential(self.get_submodule(name), attention))
        self.shift = MeanShift(span=1, mean=1)
        self.entry = conv(3, features)
        self.upsample = nn.ModuleDict(
            {f"up{tail}": _Tail(tail, features, groups) for tail in tails or (scale,)}
        )
        self.exit = conv(features, 3)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        features = super().forward(self.entry(self.shift.enter(batch)))
        return self.shift.leave(self.exit(self.upsample[f"up{self.scale}"](features)))


class _Fusion(Body):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(conv(inputs, outputs, 1), nn.ReLU())


class _Tail(Body):
    def __init__(self, scale: int, features: int, groups: int) -> None:
        super().__init__(*make_upsampler(scale, features, groups=groups, act=nn.ReLU))


class _ResidualBody(Body):
    """relu(x + body(x))."""

    def forward(self, batch: Tensor) -> Tensor:
        return F.relu(batch + self.body(batch))


class _Residual(_ResidualBody):
    def __init__(self, features: int) -> None:
        super().__init__(conv(features, features), nn.ReLU(), conv(features, features))


class _Efficient(_ResidualBody):
    """CARN-M's: group convolutions, mixed by a 1x1."""

    def __init__(self, features: int, groups: int) -> None:
        first, second = (conv(features, features, groups=groups) for _ in range(2))
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), conv(features, features, 1))


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors; the other keys are ours."""
    return drop_mean_shift(state)
