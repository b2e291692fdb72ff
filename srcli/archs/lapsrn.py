"""LapSRN: doubled step by step, each with its own residual, as in a Laplacian pyramid.

Keys as in a public PyTorch port (twtygqyy/pytorch-LapSRN): conv_input, convt_F, convt_R, convt_I, with the
number of the step. The port doubles features by kernels of 4x4, of which the paper speaks; the authors' code
(phoenix104104/LapSRN) by 3x3, which the published count of parameters is of.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, init_he

PAPER = Paper(
    "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
    2017,
    "https://arxiv.org/abs/1704.03915",
)
TRAITS = Traits(scales=(2, 4, 8))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"kernel": 4})
FACTS = Facts(
    small={"layers": 2, "features": 8},
    counts=(
        Count(4, 812_768),  # 813K
        Count(4, 870_112, {"kernel": 4}),
    ),
)


class Network(nn.Module):
    """Ten convolutions of 64 in each step, on luma; `kernel`: the size of what doubles the features."""

    def __init__(self, *, scale: int, layers: int = 10, features: int = 64, kernel: int = 3) -> None:
        super().__init__()
        self.channels = 1
        self.steps = scale.bit_length() - 1
        # Head, the first step's layers, and those of the later ones, half as far each time; the residual.
        self.halo = 2 + sum(-(-layers // 2**step) for step in range(self.steps))
        self.conv_input = conv(1, features, bias=False)
        for number in range(1, self.steps + 1):
            self.add_module(f"convt_F{number}", nn.Sequential(_Step(layers, features, kernel)))
            self.add_module(f"convt_R{number}", conv(features, 1, bias=False))
        self.apply(init_he)
        for number in range(1, self.steps + 1):
            self.add_module(f"convt_I{number}", _make_bilinear())

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of luma in [0, 1] to (N, 1, H*scale, W*scale)."""
        return self.intermediate_outputs(batch)[-1]

    def intermediate_outputs(self, batch: Tensor) -> list[Tensor]:
        """Return the image after every doubling; the last is the result, and the paper supervises all."""
        features, images = F.leaky_relu(self.conv_input(batch), 0.2), [batch]
        for number in range(1, self.steps + 1):
            refine, residual, enlarge = (self.get_submodule(f"convt_{part}{number}") for part in "FRI")
            features = refine(features)
            images.append(enlarge(images[-1]) + residual(features))
        return images[1:]


def _make_doubling(features: int, kernel: int) -> nn.ConvTranspose2d:
    odd = kernel % 2
    return nn.ConvTranspose2d(features, features, kernel, stride=2, padding=1, output_padding=odd, bias=False)


def _make_bilinear() -> nn.ConvTranspose2d:
    """Return the layer that upsamples the image itself: bilinear at first, and learned from there."""
    layer = _make_doubling(1, 4)
    taps = torch.tensor((0.25, 0.75, 0.75, 0.25))
    layer.weight.data = torch.outer(taps, taps).view(1, 1, 4, 4)
    return layer


class _Step(nn.Module):
    """Convolutions and a doubling, under the name that the port's keys have."""

    def __init__(self, layers: int, features: int, kernel: int) -> None:
        super().__init__()
        plain = (conv(features, features, bias=False) for _ in range(layers))
        pairs = ((layer, nn.LeakyReLU(0.2)) for layer in (*plain, _make_doubling(features, kernel)))
        self.cov_block = nn.Sequential(*(layer for pair in pairs for layer in pair))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.cov_block(batch)
        return out
