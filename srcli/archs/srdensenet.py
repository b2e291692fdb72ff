"""SRDenseNet: dense blocks, all kept, and transposed convolutions.

Keys as in a public PyTorch port (yjn870/SRDenseNet-pytorch): conv, dense_blocks, bottleneck, deconv,
reconstruction.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, init_he

PAPER = Paper(
    "Image Super-Resolution Using Dense Skip Connections", 2017, "https://doi.org/10.1109/ICCV.2017.514"
)
TRAITS = Traits(scales=(2, 4))
FACTS = Facts(
    small={"blocks": 2, "layers": 2, "growth": 8},
    counts=(
        Count(4, 2_659_585),  # the port's; the paper gives none, and others count 2015K
    ),
)


class Network(nn.Module):
    """The paper's SRDenseNet-All for luma at x4; at x2 it has one of the two transposed convolutions."""

    def __init__(self, *, scale: int, blocks: int = 8, layers: int = 8, growth: int = 16) -> None:
        super().__init__()
        self.channels = 1
        # Head, one per layer; the transposed convolutions and the last.
        self.halo = 1 + blocks * layers + 2
        width = layers * growth
        self.conv = _Layer(1, width)
        self.dense_blocks = nn.Sequential(
            *(_Block(width * number, growth, layers) for number in range(1, blocks + 1))
        )
        self.bottleneck = nn.Sequential(conv(width * (blocks + 1), 256, 1), nn.ReLU())
        steps = ((_doubling(), nn.ReLU()) for _ in range(scale // 2))
        self.deconv = nn.Sequential(*(layer for step in steps for layer in step))
        self.reconstruction = conv(256, 1)
        self.apply(init_he)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of luma in [0, 1] to (N, 1, H*scale, W*scale)."""
        features = self.dense_blocks(self.conv(batch))
        out: Tensor = self.reconstruction(self.deconv(self.bottleneck(features)))
        return out


def _doubling() -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(256, 256, 3, stride=2, padding=1, output_padding=1)


class _Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs)

    def forward(self, batch: Tensor) -> Tensor:
        return F.relu(self.conv(batch))


class _Block(nn.Module):
    """Layers that each see all before them in the block; what they found follows the input."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        later = (_Layer(growth * number, growth) for number in range(1, layers))
        self.block = nn.ModuleList([_Layer(inputs, growth), *later])

    def forward(self, batch: Tensor) -> Tensor:
        first, *later = self.block
        found = first(batch)
        for layer in later:
            found = torch.cat((found, layer(found)), 1)
        return torch.cat((batch, found), 1)
