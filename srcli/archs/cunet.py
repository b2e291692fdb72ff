"""CUNet: two small U-Nets in a row, the second of which corrects the first, of waifu2x.

https://github.com/nagadomi/waifu2x. Keys as in nunif, the authors' code for PyTorch: unet1, unet2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import GlobalStats

PAPER = Paper("waifu2x", 2018, "https://github.com/nagadomi/waifu2x")
TRAITS = Traits(scales=(1, 2), local=False)
FACTS = Facts(
    counts=(  # the published files'
        Count(1, 1_283_254),
        Count(2, 1_284_598),
    ),
    export_errors={"ncnn": "padding that depends"},
)


class Network(nn.Module):
    """Removes noise (x1) or enlarges; nothing is padded with zeros, so the input is extended first."""

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        # Tiles have to begin where halving begins; below their means, features see this many pixels.
        self.alignment = 4 // scale
        self.halo = self.margin = {1: 28, 2: 18}[scale]
        self.unet1 = _First(enlarges=scale == 2)
        self.unet2 = _Second()

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        height, width = batch.shape[2:]
        right, below = (self.margin + -side % self.alignment for side in (width, height))
        first: Tensor = self.unet1(F.pad(batch, (self.margin, right, self.margin, below), mode="replicate"))
        out: Tensor = _crop(first, 20) + self.unet2(first)
        return out[..., : height * self.scale, : width * self.scale]


class _First(nn.Module):
    """A U-Net that halves once."""

    def __init__(self, *, enlarges: bool) -> None:
        super().__init__()
        self.conv1 = _Pair(3, 32, 64)
        self.conv1_down = nn.Conv2d(64, 64, 2, 2)
        self.conv2 = _Pair(64, 128, 64, attends=True)
        self.conv2_up = nn.ConvTranspose2d(64, 64, 2, 2)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.conv_bottom = nn.ConvTranspose2d(64, 3, 4, 2, 3) if enlarges else nn.Conv2d(64, 3, 3)

    def forward(self, batch: Tensor) -> Tensor:
        whole = self.conv1(batch)
        half = self.conv2(_leak(self.conv1_down(whole)))
        joined = _crop(whole, 4) + _leak(self.conv2_up(half))
        out: Tensor = self.conv_bottom(_leak(self.conv3(joined)))
        return out


class _Second(nn.Module):
    """A U-Net that halves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _Pair(3, 32, 64)
        self.conv1_down = nn.Conv2d(64, 64, 2, 2)
        self.conv2 = _Pair(64, 64, 128, attends=True)
        self.conv2_down = nn.Conv2d(128, 128, 2, 2)
        self.conv3 = _Pair(128, 256, 128, attends=True)
        self.conv3_up = nn.ConvTranspose2d(128, 128, 2, 2)
        self.conv4 = _Pair(128, 64, 64, attends=True)
        self.conv4_up = nn.ConvTranspose2d(64, 64, 2, 2)
        self.conv5 = nn.Conv2d(64, 64, 3)
        self.conv_bottom = nn.Conv2d(64, 3, 3)

    def forward(self, batch: Tensor) -> Tensor:
        whole = self.conv1(batch)
        half = self.conv2(_leak(self.conv1_down(whole)))
        quarter = self.conv3(_leak(self.conv2_down(half)))
        half = self.conv4(_crop(half, 4) + _leak(self.conv3_up(quarter)))
        joined = _crop(whole, 16) + _leak(self.conv4_up(half))
        out: Tensor = self.conv_bottom(_leak(self.conv5(joined)))
        return out


class _Pair(nn.Module):
    """Two convolutions, and perhaps an attention to channels."""

    def __init__(self, inputs: int, middle: int, outputs: int, *, attends: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, middle, 3), nn.LeakyReLU(0.1), nn.Conv2d(middle, outputs, 3), nn.LeakyReLU(0.1)
        )
        self.seblock = _Attention(outputs) if attends else nn.Identity()

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.seblock(self.conv(batch))
        return out


class _Attention(nn.Module):
    """Channels weighted by a function of their means over the image."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.stats = GlobalStats()
        self.conv1 = nn.Conv2d(features, features // 8, 1)
        self.conv2 = nn.Conv2d(features // 8, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        (means,) = self.stats(batch)
        out: Tensor = batch * torch.sigmoid(self.conv2(F.relu(self.conv1(means))))
        return out


def _leak(batch: Tensor) -> Tensor:
    return F.leaky_relu(batch, 0.1)


def _crop(batch: Tensor, side: int) -> Tensor:
    return batch[..., side:-side, side:-side]
