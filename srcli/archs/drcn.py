"""DRCN: one convolution applied sixteen times, and a prediction after each.

No weights of it are public that could be loaded; the keys follow the paper's three networks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, init_he

PAPER = Paper(
    "Deeply-Recursive Convolutional Network for Image Super-Resolution",
    2016,
    "https://arxiv.org/abs/1511.04491",
)
TRAITS = Traits(scales=(2, 3, 4), pre_upsampled=True)
FACTS = Facts(
    small={"recursions": 3, "features": 16},
    counts=(
        Count(2, 1_775_121),  # 1774K
    ),
)


class Network(nn.Module):
    """The paper's 256 features and 16 recursions; the result is a learned mean of all predictions."""

    def __init__(self, *, scale: int, recursions: int = 16, features: int = 256) -> None:
        super().__init__()
        self.channels = 1
        self.halo = 2 + recursions + 2
        self.embedding = nn.Sequential(conv(1, features), nn.ReLU(), conv(features, features), nn.ReLU())
        self.inference = conv(features, features)
        self.reconstruction = nn.Sequential(conv(features, features), nn.ReLU(), conv(features, 1))
        self.weights = nn.Parameter(torch.full((recursions,), 1 / recursions))
        self.apply(init_he)
        # The recursion begins as doing nothing, so that its many steps neither grow nor fade.
        nn.init.dirac_(self.inference.weight)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of enlarged luma in [0, 1] to the same shape, restored."""
        return self.intermediate_outputs(batch)[-1]

    def intermediate_outputs(self, batch: Tensor) -> list[Tensor]:
        """Return the prediction after each recursion, then the result; the paper supervises all."""
        features, predictions, total = self.embedding(batch), [], torch.zeros_like(batch)
        for weight in self.weights:
            features = F.relu(self.inference(features))
            predictions.append(batch + self.reconstruction(features))
            total = total + weight * predictions[-1]
        return [*predictions, total]
