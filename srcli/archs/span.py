"""SPAN: attention without parameters, from what the features themselves are.

Keys as in the authors' code (hongyuanyu/SPAN): conv_1, block, conv_cat, conv_2, upsampler; but its block_1 is
block.0. While training, each 3x3 convolution is three in a row beside a 1x1; they are merged to one kernel at
every step, and `merge` leaves only that.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, conv, count_numbers, number_from_zero, run_chain

PAPER = Paper(
    "Swift Parameter-free Attention Network for Efficient Super-Resolution",
    2024,
    "https://arxiv.org/abs/2311.12770",
)
TRAITS = Traits(scales=(2, 3, 4, 1))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"branches": False},
    {"features": 48},
    {"features": 48, "branches": False},
    {"norm": False},
)
FACTS = Facts(
    small={"features": 16, "span": 1.0, "mean": 1.0},
    counts=(
        Count(2, 481_324, {"branches": False}),  # 481K
        Count(2, 410_700, {"branches": False, "features": 48}),  # SPAN-S: 411K
    ),
)

BLOCKS = 6


class Network(nn.Module):
    """Six blocks of 52; SPAN-S has 48. `branches`: with what is learned beside the 3x3 kernels.

    `span`, `mean`: see `MeanShift`. Without `norm`, values stay in [0, 1]; trainers other than the authors'
    mark such files with a tensor, `no_norm`. `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        features: int = 52,
        branches: bool = True,
        span: float = 255.0,
        mean: float = 255.0,
        norm: bool = True,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        # Head, three per block, one after them, and the upsampler.
        self.halo = 1 + 18 + 1 + 1
        if not norm:
            span, mean = 1.0, 0.0
            self.register_buffer("no_norm", torch.zeros(1))
        self.shift = MeanShift(span, mean, channels=channels)
        self.conv_1 = _MergeableConv(channels, features, branches)
        self.block = nn.ModuleList(_Block(features, branches) for _ in range(BLOCKS))
        self.conv_cat = conv(4 * features, features, 1)
        self.conv_2 = _MergeableConv(features, features, branches)
        self.upsampler = nn.Sequential(conv(features, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale); only the input is shifted."""
        shallow = self.conv_1(self.shift.enter(batch))
        *_, before, last = results = run_chain(self.block, shallow)
        inner = self.block[-1].c1_r(before)  # type: ignore[operator]
        kept = (shallow, self.conv_2(last), results[0], F.silu(inner))
        out: Tensor = self.upsampler(self.conv_cat(torch.cat(kept, 1)))
        return out


class _Block(nn.Module):
    """Three convolutions whose result, where it is far from zero, lets itself and the input pass."""

    def __init__(self, features: int, branches: bool) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (_MergeableConv(features, features, branches) for _ in range(3))

    def forward(self, batch: Tensor) -> Tensor:
        seen: Tensor = self.c3_r(F.silu(self.c2_r(F.silu(self.c1_r(batch)))))
        return (seen + batch) * (torch.sigmoid(seen) - 0.5)


class _MergeableConv(nn.Module):
    """A 3x3 convolution, or the three and the one that are learned in its place."""

    def __init__(self, inputs: int, outputs: int, branches: bool) -> None:
        super().__init__()
        self.branches = branches
        if branches:
            self.sk = conv(inputs, outputs, 1)
            self.conv = nn.Sequential(
                conv(inputs, 2 * inputs, 1), conv(2 * inputs, 2 * outputs), conv(2 * outputs, outputs, 1)
            )
        else:
            self.eval_conv = conv(inputs, outputs)

    def merge(self) -> tuple[Tensor, Tensor]:
        """Return the one kernel (outputs, inputs, 3, 3) and bias that compute the same."""
        if not self.branches:
            return _get_kernel(self.eval_conv)
        (first, first_bias), (middle, middle_bias), (last, last_bias) = (
            _get_kernel(layer) for layer in self.conv
        )
        beside, beside_bias = _get_kernel(self.sk)
        kernel = torch.einsum("om,mnyx,ni->oiyx", last[..., 0, 0], middle, first[..., 0, 0])
        bias = middle.sum((2, 3)) @ first_bias + middle_bias
        return kernel + F.pad(beside, (1, 1, 1, 1)), last[..., 0, 0] @ bias + last_bias + beside_bias

    def forward(self, batch: Tensor) -> Tensor:
        return F.conv2d(batch, *self.merge(), padding=1)


def _get_kernel(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.weight, layer.bias


def deploy(network: nn.Module, config: dict[str, Any], scale: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the same function without branches, and its config."""
    plain_config = {**config, "branches": False}
    plain = Network(scale=scale, **plain_config)
    state = {key: value for key, value in network.state_dict().items() if key in plain.state_dict()}
    for name, layer in network.named_modules():
        if isinstance(layer, _MergeableConv):
            state[f"{name}.eval_conv.weight"], state[f"{name}.eval_conv.bias"] = layer.merge()
    plain.load_state_dict(state)
    return plain, plain_config


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' numbered blocks as a list; drop merged kernels where there are branches."""
    state = number_from_zero(state, "block_")
    if any(".sk." in key for key in state):
        return {key: value for key, value in state.items() if ".eval_conv." not in key}
    return state


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    branches = "conv_1.sk.weight" in state
    first = state["conv_1.sk.weight" if branches else "conv_1.eval_conv.weight"]
    if count_numbers(state, "block.") != BLOCKS:
        raise ValueError("another number of blocks")
    return {
        "features": first.shape[0],
        "branches": branches,
        "norm": "no_norm" not in state,
        "channels": first.shape[1],
    }
