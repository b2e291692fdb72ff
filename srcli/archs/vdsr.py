"""VDSR: twenty 3x3 convolutions that learn what bicubic leaves out.

Keys as the layers are numbered in a public Caffe port (huangzehao/caffe-vdsr): conv1 to conv20. One set
of weights serves every scale.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, init_he

PAPER = Paper(
    "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
    2016,
    "https://arxiv.org/abs/1511.04587",
)
TRAITS = Traits(scales=(2, 3, 4), pre_upsampled=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"bias": True})
FACTS = Facts(
    small={"layers": 5, "features": 16},
    counts=(
        Count(2, 664_704),  # 665K
        Count(2, 665_921, {"bias": True}),
    ),
)


class Network(nn.Module):
    """20 layers of 64; public weights have no `bias`."""

    def __init__(self, *, scale: int, layers: int = 20, features: int = 64, bias: bool = False) -> None:
        super().__init__()
        self.channels = 1
        self.halo = layers
        self.names = [f"conv{number}" for number in range(1, layers + 1)]
        for name in self.names:
            inputs = 1 if name == self.names[0] else features
            outputs = 1 if name == self.names[-1] else features
            self.add_module(name, conv(inputs, outputs, bias=bias))
        self.apply(init_he)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of enlarged luma in [0, 1] to the same shape, restored."""
        features = batch
        for name in self.names[:-1]:
            features = F.relu(self.get_submodule(name)(features))
        out: Tensor = batch + self.get_submodule(self.names[-1])(features)
        return out
