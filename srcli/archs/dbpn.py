"""D-DBPN: features projected up and down again, each time correcting the error.

Keys as in the authors' code (alterzero/DBPN-Pytorch): feat0, feat1, up1 to up7, down1 to down6, output_conv.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv

PAPER = Paper("Deep Back-Projection Networks For Super-Resolution", 2018, "https://arxiv.org/abs/1803.02735")
TRAITS = Traits(scales=(2, 4, 8))
FACTS = Facts(
    small={"stages": 3, "features": 16, "head": 16},
    counts=(
        Count(2, 5_953_526),  # 5953K
        Count(4, 10_426_358),  # 10426K
        Count(8, 23_205_878),  # 23205K
    ),
)


class Network(nn.Module):
    """Seven stages of 64 features."""

    def __init__(self, *, scale: int, stages: int = 7, features: int = 64, head: int = 256) -> None:
        super().__init__()
        self.channels = 3
        self.stages = stages
        # Each stage has three projections up and three down, of kernels that reach less the larger the scale.
        self.halo = (6 if scale == 2 else 3) * stages
        self.feat0 = _LayerWithPReLU(conv=conv(3, head))
        self.feat1 = _LayerWithPReLU(conv=conv(head, features, 1))
        for number in range(1, stages + 1):
            # The first two see one result, as nothing was kept before them.
            self.add_module(f"up{number}", _Projection(scale, features, max(1, number - 1), up=True))
            if number < stages:
                self.add_module(f"down{number}", _Projection(scale, features, number, up=False))
        self.output_conv = nn.ModuleDict({"conv": conv(stages * features, 3)})

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        small, large = self.feat1(self.feat0(batch)), None
        kept: Tensor | None = None
        for number in range(1, self.stages + 1):
            large = _newest_first(self.get_submodule(f"up{number}")(small if kept is None else kept), large)
            if number < self.stages:
                kept = _newest_first(self.get_submodule(f"down{number}")(large), kept)
        out: Tensor = self.output_conv["conv"](large)
        return out


def _newest_first(new: Tensor, kept: Tensor | None) -> Tensor:
    return new if kept is None else torch.cat((new, kept), 1)


class _LayerWithPReLU(nn.Module):
    """A layer, under the name that its key has, and a PReLU."""

    def __init__(self, **layer: nn.Module) -> None:
        super().__init__()
        ((self.name, module),) = layer.items()
        self.add_module(self.name, module)
        self.act = nn.PReLU()

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.act(self.get_submodule(self.name)(batch))
        return out


class _Projection(nn.Module):
    """Resize, resize back, and add the resized error; starts with a 1x1 convolution for several inputs."""

    def __init__(self, scale: int, features: int, seen: int, *, up: bool) -> None:
        super().__init__()
        if seen > 1:
            self.conv = _LayerWithPReLU(conv=conv(seen * features, features, 1))
        self.fuses = seen > 1
        self.direction = "up" if up else "down"
        for number in (1, 2, 3):
            enlarging = up == (number != 2)
            self.add_module(f"{self.direction}_conv{number}", _build_resizing(scale, features, enlarging))

    def forward(self, batch: Tensor) -> Tensor:
        batch = self.conv(batch) if self.fuses else batch
        there, back, again = (self.get_submodule(f"{self.direction}_conv{number}") for number in (1, 2, 3))
        first = there(batch)
        out: Tensor = first + again(back(first) - batch)
        return out


def _build_resizing(scale: int, features: int, enlarging: bool) -> _LayerWithPReLU:
    shape: dict[str, Any] = {"kernel_size": scale + 4, "stride": scale, "padding": 2}
    if enlarging:
        return _LayerWithPReLU(deconv=nn.ConvTranspose2d(features, features, **shape))
    return _LayerWithPReLU(conv=nn.Conv2d(features, features, **shape))
