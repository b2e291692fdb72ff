"""EFDN: distillation blocks whose convolutions were merged from edge-enhancing branches.

Keys as in the authors' code (icandle/EFDN), after merging: head, cells, local_fuse, tail.
"""

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import RFDN_LAYERS, SpatialAttention, conv, pad_to_side

PAPER = Paper(
    "Edge-Enhanced Feature Distillation Network for Efficient Super-Resolution",
    2022,
    "https://arxiv.org/abs/2204.08759",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)

FACTS = Facts(
    small={"features": 16},
    counts=(
        Count(2, 260_604),  # the file's, as the next
        Count(4, 276_192),  # 276K
    ),
)


class Network(nn.Module):
    """Four blocks of 48."""

    def __init__(self, *, scale: int, features: int = 48) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        # The attention's grid depends on where a tile begins: an overlap that keeps tiles close to the whole.
        self.halo = 32
        self.head = conv(3, features)
        self.cells = nn.ModuleList(_Block(features) for _ in range(4))
        self.local_fuse = nn.ModuleList(conv(2 * features, features, 1) for _ in range(3))
        self.tail = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.head(pad_to_side(batch, SpatialAttention.LEAST))
        first = self.cells[0](shallow)
        second = self.cells[1](first)
        third = self.cells[2](self.local_fuse[0](torch.cat((first, second), 1)))
        fourth = self.cells[3](self.local_fuse[1](torch.cat((second, third), 1)))
        # The second block's result once more, not the third's: the authors' network is so.
        fused = self.local_fuse[2](torch.cat((second, fourth), 1))
        out: Tensor = self.tail(shallow + fused)
        height, width = batch.shape[2:]
        return out[..., : height * self.scale, : width * self.scale]


class _Block(nn.Module):
    """Three convolutions in a row; half of the features of each step are fused, with spatial attention."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _Layer("conv1x1", conv(features, features, 1))
        self.conv2, self.conv3 = (_Layer("rep_conv", conv(features, features)) for _ in range(2))
        self.branch = nn.ModuleList(conv(features, features // 2, 1) for _ in range(4))
        self.fuse = conv(2 * features, features, 1)
        self.att = SpatialAttention(features, features // 4, RFDN_LAYERS, nn.ReLU())

    def forward(self, batch: Tensor) -> Tensor:
        steps = [batch]
        for layer in (self.conv1, self.conv2, self.conv3):
            steps.append(layer(steps[-1]))
        distilled = [branch(step) for branch, step in zip(self.branch, steps, strict=True)]
        out: Tensor = batch + self.att(self.fuse(torch.cat(distilled, 1)))
        return out


class _Layer(nn.Module):
    """A convolution, under the name that the published keys have for it, and PReLU."""

    def __init__(self, name: str, layer: nn.Conv2d) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, layer)
        self.act = nn.PReLU(layer.out_channels)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.act(self.get_submodule(self.name)(batch))
        return out
