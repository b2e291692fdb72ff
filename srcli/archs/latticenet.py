"""LatticeNet: pairs of small networks crossed as in a lattice filter.

Keys as in a public port with weights (ymff0592/super-resolution): sub_mean, conv1, conv2, body_unit, T_tdm,
L_tdm, tail, add_mean; but its body_unit1 is body_unit.0. The mean shift of those weights was learned too.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import GlobalStats, MeanShift, conv, number_from_zero, run_chain

PAPER = Paper(
    "LatticeNet: Towards Lightweight Image Super-Resolution with Lattice Block",
    2020,
    "https://doi.org/10.1007/978-3-030-58542-6_17",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
FACTS = Facts(
    small={"units": 2, "features": 16},
    counts=(
        Count(2, 756_196),  # 756K
        Count(3, 764_851),  # 765K
        Count(4, 776_968),  # 777K
    ),
    export_errors={"ncnn": "stack"},
)


class Network(nn.Module):
    """Four units of 64, fused from the last back to the first."""

    def __init__(self, *, scale: int, units: int = 4, features: int = 64) -> None:
        super().__init__()
        self.channels = 3
        # Two in front, six per unit, two behind: what is seen beyond comes by means over the image.
        self.halo = 6 * units + 4
        self.sub_mean, self.add_mean = _make_shift(-255), _make_shift(255)
        self.conv1 = conv(3, features)
        self.conv2 = conv(features, features)
        self.body_unit = nn.ModuleList(_Unit(features) for _ in range(units))
        self.T_tdm = nn.ModuleList(_make_halving(features) for _ in range(units - 1))
        self.L_tdm = nn.ModuleList(_make_halving(features) for _ in range(units - 1))
        self.tail = nn.Sequential(
            conv(features, features), conv(features, 3 * scale**2), nn.PixelShuffle(scale)
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.conv2(self.conv1(self.sub_mean(batch * 255)))
        results = run_chain(self.body_unit, shallow)
        fused = results.pop()
        for of_fused, of_earlier in zip(self.T_tdm, self.L_tdm, strict=True):
            fused = torch.cat((of_fused(fused), of_earlier(results.pop())), 1)
        out: Tensor = self.add_mean(self.tail(shallow + fused)) / 255
        return out


def _make_shift(span: float) -> nn.Conv2d:
    """Return a mean shift that can be learned."""
    layer = conv(3, 3, 1)
    nn.init.dirac_(layer.weight)
    assert layer.bias is not None
    layer.bias.data = MeanShift(1, span).shift.flatten()
    return layer


def _make_halving(features: int) -> nn.Sequential:
    return nn.Sequential(conv(features, features // 2, 1), nn.ReLU())


class _Unit(nn.Module):
    """Two branches that each add the other, weighted per channel, twice."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_block0 = _make_branch(features)
        self.fea_ca1, self.x_ca1 = _Weights(features), _Weights(features)
        self.conv_block1 = _make_branch(features)
        self.fea_ca2, self.x_ca2 = _Weights(features), _Weights(features)
        self.compress = conv(2 * features, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        seen = self.conv_block0(batch)
        upper = batch + self.fea_ca1(seen) * seen
        lower = seen + self.x_ca1(batch) * batch
        seen = self.conv_block1(upper)
        upper = seen + self.fea_ca2(lower) * lower
        lower = lower + self.x_ca2(seen) * seen
        out: Tensor = self.compress(torch.cat((upper, lower), 1))
        return out


def _make_branch(features: int) -> nn.Sequential:
    narrow = features * 3 // 4
    widths = ((features, narrow), (narrow, narrow), (narrow, features))
    layers = ((conv(before, after), nn.LeakyReLU(0.05)) for before, after in widths)
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class _Weights(nn.Module):
    """A weight per channel, from the channels' means and their deviations."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_mean, self.conv_std = _make_gate(features), _make_gate(features)
        self.moments = GlobalStats(variances=True)

    def forward(self, batch: Tensor) -> Tensor:
        count = batch.shape[2] * batch.shape[3]
        mean, variance = self.moments(batch)
        unbiased = variance * count / max(1, count - 1)
        # The root has no gradient at zero, where a flat channel would be.
        weights: Tensor = self.conv_mean(mean) + self.conv_std(unbiased.clamp_min(1e-12).sqrt())
        return weights / 2


def _make_gate(features: int) -> nn.Sequential:
    squeezed = features // 16
    return nn.Sequential(conv(features, squeezed, 1), nn.ReLU(), conv(squeezed, features, 1), nn.Sigmoid())


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the port's numbered parts as lists."""
    for prefix in ("body_unit", "T_tdm", "L_tdm"):
        state = number_from_zero(state, prefix)
    return state
