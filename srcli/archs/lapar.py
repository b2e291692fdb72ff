"""LAPAR: each pixel filtered with its own mixture of 72 fixed kernels.

Keys as in the authors' code (dvlab-research/Simple-SR): w_conv.head, body, up, tail and decom_conv. Kernels
are mixed first and then applied, not the other way round: the same sum, with 25 planes in memory, not 216.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, conv, pad_to_side, run_chain

PAPER = Paper(
    "LAPAR: Linearly-Assembled Pixel-Adaptive Regression Network for Single Image Super-Resolution and "
    "Beyond",
    2020,
    "https://arxiv.org/abs/2105.10422",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"features": 24, "blocks": 3},
    {"features": 16, "blocks": 2},
)
FACTS = Facts(
    small={"features": 8, "blocks": 1},
    counts=(
        Count(2, 547_866),  # A: 548K
        Count(3, 594_266),  # 594K in SAFMN's table; 544K in the paper's, which their code does not give
        Count(4, 659_226),  # 659K
        Count(2, 250_184, {"features": 24, "blocks": 3}),  # B: 250K
        Count(3, 276_344, {"features": 24, "blocks": 3}),  # 276K
        Count(4, 312_968, {"features": 24, "blocks": 3}),  # 313K
        Count(2, 87_318, {"features": 16, "blocks": 2}),  # C: 87K
        Count(3, 98_998, {"features": 16, "blocks": 2}),  # 99K
        Count(4, 115_350, {"features": 16, "blocks": 2}),  # 115K
    ),
    export_errors={"ncnn": "slice"},
)

SIZE = 5

# The paper names the kinds of its kernels; these numbers reproduce the authors' file.
# Deviation along the longer axis in pixels, ratio of the shorter one, and number of angles.
ROUND, OVAL, NEEDLE = 1, 6, 12
GAUSSIANS = {
    2.0: {1.0: ROUND, 0.8: OVAL, 0.6: OVAL, 0.4: OVAL, 0.2: NEEDLE},
    1.2: {1.0: ROUND, 0.8: OVAL, 0.6: OVAL, 0.4: OVAL},
    0.4: {1.0: ROUND},
}
# Differences of all round kernels, and of oval ones with the two larger deviations.
ROUND_PAIRS = ((2.0, 1.2), (2.0, 0.4), (1.2, 0.4))
OVAL_PAIR, OVAL_RATIOS = (2.0, 1.2), (0.8, 0.6, 0.4)
# The sum of the negative weights of a difference; the positive ones make the total one.
NEGATIVE = 0.4


class Network(nn.Module):
    """LAPAR-A; B has 24 features and 3 blocks, C 16 and 2. `normed`: kernels as directions and lengths."""

    def __init__(self, *, scale: int, features: int = 32, blocks: int = 4, normed: bool = True) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        # Head, nine per block, upsampler, and four enlarged pixels in the tail.
        self.halo = 1 + 9 * blocks + 1 + (3 + scale) // scale
        self.shift = MeanShift(span=1, mean=1)
        self.decom_conv = _Dictionary()
        self.w_conv = _Coefficients(scale, features, blocks, len(self.decom_conv.weight), normed)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        height, width = (side * self.scale for side in batch.shape[2:])
        # A single pixel, upscaled, is too small to be reflected at its edge.
        batch = pad_to_side(batch, 2)
        kernels = self.decom_conv(self.w_conv(self.shift.enter(batch)))
        enlarged = F.interpolate(batch, scale_factor=self.scale, mode="bicubic", align_corners=False)
        return _filter(enlarged, kernels)[..., :height, :width]


def _filter(batch: Tensor, kernels: Tensor) -> Tensor:
    """Filter each pixel of (N, C, H, W) by its own kernel (N, 25, H, W); edges are padded by reflection."""
    height, width = batch.shape[2:]
    padded = F.pad(batch, (SIZE // 2,) * 4, mode="reflect")
    out = torch.zeros_like(batch)
    for tap, (y, x) in enumerate(itertools.product(range(SIZE), repeat=2)):
        out = out + kernels[:, tap : tap + 1] * padded[..., y : y + height, x : x + width]
    return out


class _Dictionary(nn.Module):
    """Mixtures of 72 kernels, by their coefficients."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", build_dictionary().float()[:, None])

    def forward(self, coefficients: Tensor) -> Tensor:
        """Map (N, 72, H, W) to kernels (N, 25, H, W)."""
        return F.conv2d(coefficients, self.weight.flatten(1).t()[..., None, None])


def build_dictionary() -> Tensor:
    """Compute the 72 kernels (72, 5, 5) in double precision: 51 Gaussians, 21 differences, of sum one."""
    gaussians = [
        _gaussian(deviation, ratio, turn / turns)
        for deviation, ratios in GAUSSIANS.items()
        for ratio, turns in ratios.items()
        for turn in range(turns)
    ]
    differences = [_difference(*pair, 1.0, 0.0) for pair in ROUND_PAIRS]
    differences += [
        _difference(*OVAL_PAIR, ratio, turn / OVAL) for ratio in OVAL_RATIOS for turn in range(OVAL)
    ]
    return torch.stack(gaussians + differences)


def _gaussian(deviation: float, ratio: float, turn: float) -> Tensor:
    """Sample a Gaussian of sum one; `turn` is its angle in half circles, from the x axis upwards."""
    across = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    cosine, sine = math.cos(turn * math.pi), math.sin(turn * math.pi)
    longer = across * cosine - across[:, None] * sine
    shorter = across * sine + across[:, None] * cosine
    kernel = torch.exp(-((longer / deviation) ** 2 + (shorter / (deviation * ratio)) ** 2) / 2)
    return kernel / kernel.sum()


def _difference(wide: float, narrow: float, ratio: float, turn: float) -> Tensor:
    """Subtract the narrow Gaussian from the wide one, which gives a sharpening kernel."""
    kernel = _gaussian(wide, ratio, turn) - _gaussian(narrow, ratio, turn)
    positive, negative = kernel.clamp_min(0), kernel.clamp_max(0)
    return (1 + NEGATIVE) * positive / positive.sum() - NEGATIVE * negative / negative.sum()


class LearnedScale(nn.Module):
    """A factor that is learned."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([start]))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return batch * self.scale


class _WeightedSum(nn.Module):
    """Two branches, added with learned factors."""

    def __init__(self) -> None:
        super().__init__()
        self.res_scale, self.x_scale = LearnedScale(1.0), LearnedScale(1.0)

    def weigh(self, branch: Tensor, batch: Tensor) -> Tensor:
        out: Tensor = self.res_scale(branch) + self.x_scale(batch)
        return out


class _Unit(_WeightedSum):
    def __init__(self, features: int, hidden: int, normed: bool) -> None:
        super().__init__()
        first, last = (
            make_layer(*widths, normed=normed) for widths in ((features, hidden), (hidden, features))
        )
        self.body = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, batch: Tensor) -> Tensor:
        return self.weigh(self.body(batch), batch)


class LocalFusion(_WeightedSum):
    """Units of two convolutions in a row, all of whose results are fused: AWSRN's block.

    `hidden`: the features between the convolutions of a unit.
    """

    def __init__(self, features: int, hidden: int, units: int, normed: bool) -> None:
        super().__init__()
        self.units = units
        for number in range(units):
            self.add_module(f"b{number}", _Unit(features, hidden, normed))
        self.reduction = make_layer(units * features, features, normed=normed)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        results = run_chain((self.get_submodule(f"b{number}") for number in range(self.units)), batch)
        return self.weigh(self.reduction(torch.cat(results, 1)), batch)


class _Tail(nn.Module):
    """3x3 and 5x5 convolutions, weighted, to a coefficient for each kernel of the dictionary."""

    def __init__(self, features: int, outputs: int, normed: bool) -> None:
        super().__init__()
        self.tail_k3 = make_layer(features, features, normed=normed)
        self.tail_k5 = make_layer(features, features, 5, normed=normed)
        self.scale_k3, self.scale_k5 = LearnedScale(0.5), LearnedScale(0.5)
        self.fuse = make_layer(features, features, normed=normed)
        self.w_conv = make_layer(features, outputs, normed=normed)

    def forward(self, batch: Tensor) -> Tensor:
        seen = self.scale_k3(self.tail_k3(batch)) + self.scale_k5(self.tail_k5(batch))
        out: Tensor = self.w_conv(F.relu(self.fuse(seen)))
        return out


class _Coefficients(nn.Sequential):
    """RGB less its mean to (N, outputs, H*scale, W*scale)."""

    def __init__(self, scale: int, features: int, blocks: int, outputs: int, normed: bool) -> None:
        super().__init__()
        self.head = nn.Sequential(make_layer(3, features, normed=normed), nn.ReLU())
        self.body = nn.Sequential(*(LocalFusion(features, features, 4, normed) for _ in range(blocks)))
        enlarging = make_layer(features, features * scale**2, normed=normed)
        self.up = nn.Sequential(enlarging, nn.ReLU(), nn.PixelShuffle(scale))
        self.tail = _Tail(features, outputs, normed)


class WeightNormConv(nn.Module):
    """A convolution with weight normalisation (https://arxiv.org/abs/1602.07868)."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(layer.weight.detach())
        self.weight_g = nn.Parameter(_measure_lengths(self.weight_v).detach())
        self.bias = layer.bias
        self.padding = layer.padding

    def merge(self) -> Tensor:
        """Return the kernels themselves."""
        return self.weight_v * (self.weight_g / _measure_lengths(self.weight_v))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        return F.conv2d(batch, self.merge(), self.bias, padding=self.padding)


def _measure_lengths(kernels: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(kernels, dim=(1, 2, 3), keepdim=True)
    return lengths


def make_layer(inputs: int, outputs: int, size: int = 3, *, normed: bool) -> nn.Module:
    """Return a convolution, with weight normalisation if `normed`."""
    layer = conv(inputs, outputs, size)
    return WeightNormConv(layer) if normed else layer


def deploy(network: nn.Module, config: dict[str, Any], scale: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the same function with plain convolutions, and its config."""
    plain_config = {**config, "normed": False}
    plain = Network(scale=scale, **plain_config)
    merge_weight_norm(network, plain)
    return plain, plain_config


def merge_weight_norm(network: nn.Module, plain: nn.Module) -> None:
    """Give a network with plain convolutions the weights of one with weight normalisation."""
    state = {key: value for key, value in network.state_dict().items() if key in plain.state_dict()}
    for name, layer in network.named_modules():
        if isinstance(layer, WeightNormConv):
            state[f"{name}.weight"] = layer.merge()
    plain.load_state_dict(state)


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean colour, which is no weight; the other keys are ours."""
    return {key: value for key, value in state.items() if key != "w_conv.rgb_mean"}
