"""The discriminators of SRGAN, ESRGAN, BebyGAN and Real-ESRGAN; they return logits of an image being real.

https://arxiv.org/abs/1609.04802, figure 4; https://arxiv.org/abs/2107.10833, figure 6
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from srcli.errors import UsageError


class Vgg(nn.Module):
    """SRGAN's: eight convolutions, every second one with stride 2, and two dense layers; one logit per image.

    It is built for one patch size: 96 in SRGAN.
    """

    def __init__(self, patch: int = 96, channels: int = 3, features: int = 64) -> None:
        super().__init__()
        widths = [features * times for times in (1, 1, 2, 2, 4, 4, 8, 8)]
        blocks = [
            _make_block(before, after, 1 + index % 2)
            for index, (before, after) in enumerate(itertools.pairwise(widths), 1)
        ]
        first = [nn.Conv2d(channels, features, 3, padding=1), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*first, *itertools.chain(*blocks))
        # A 3x3 convolution with stride 2 rounds an odd side up.
        dense = nn.Linear(widths[-1] * math.ceil(patch / 16) ** 2, 1024)
        self.head = nn.Sequential(nn.Flatten(), dense, nn.LeakyReLU(0.2), nn.Linear(1024, 1))

    def forward(self, batch: Tensor) -> Tensor:
        """Compute logits (N, 1) of (N, C, patch, patch) in [0, 1]; above 0 is real."""
        logits: Tensor = self.head(self.body(batch))
        return logits


class Deep(nn.Module):
    """4x4 convolutions with stride 2 until 3 to 5 pixels are left on a side; one logit per image.

    With 64 `features`, ESRGAN's for patches of 128 (`VGGStyleDiscriminator` in BasicSR); with 32, BebyGAN's
    for 128, 192 and 256 px (dvlab-research/Simple-SR).
    """

    def __init__(self, patch: int = 192, channels: int = 3, features: int = 32) -> None:
        super().__init__()
        halvings = (patch // 3).bit_length() - 1
        widths = [features * min(2**level, 8) for level in range(halvings)]
        first = [nn.Conv2d(channels, features, 3, padding=1), nn.LeakyReLU(0.2)]
        blocks = [_make_block(features, features, 2, 4)]
        blocks += [_make_block(a, b, 1) + _make_block(b, b, 2, 4) for a, b in itertools.pairwise(widths)]
        self.body = nn.Sequential(*first, *itertools.chain(*blocks))
        dense = nn.Linear(widths[-1] * (patch >> halvings) ** 2, 100)
        self.head = nn.Sequential(nn.Flatten(), dense, nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, batch: Tensor) -> Tensor:
        """Compute logits (N, 1) of (N, C, patch, patch) in [0, 1]; above 0 is real."""
        logits: Tensor = self.head(self.body(batch))
        return logits


def _make_block(before: int, after: int, stride: int, kernel: int = 3) -> list[nn.Module]:
    # The normalisation has a bias already.
    convolution = nn.Conv2d(before, after, kernel, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]


class UNet(nn.Module):
    """Real-ESRGAN's: three levels, summed skip connections, spectral normalisation; one logit per pixel."""

    def __init__(self, channels: int = 3, features: int = 64) -> None:
        super().__init__()
        widths = [features * times for times in (1, 2, 4, 8)]
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.down = nn.ModuleList(_make_halving(a, b) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_make_normalised(a, b) for a, b in itertools.pairwise(widths[::-1]))
        self.after = nn.ModuleList(_make_normalised(features, features) for _ in range(2))
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, batch: Tensor) -> Tensor:
        """Compute logits (N, 1, H, W) of (N, C, H, W) in [0, 1]; above 0 is real."""
        levels = [F.leaky_relu(self.first(batch), 0.2)]
        for down in self.down:
            levels.append(F.leaky_relu(down(levels[-1]), 0.2))
        x = levels.pop()
        for up in self.up:
            skipped = levels.pop()
            larger = F.interpolate(x, size=skipped.shape[2:], mode="bilinear")
            x = F.leaky_relu(up(larger), 0.2) + skipped
        for convolution in self.after:
            x = F.leaky_relu(convolution(x), 0.2)
        logits: Tensor = self.last(x)
        return logits


def _make_halving(before: int, after: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(before, after, 4, 2, padding=1, bias=False))


def _make_normalised(before: int, after: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(before, after, 3, padding=1, bias=False))


DISCRIMINATORS: dict[str, Callable[[int, int], nn.Module]] = {
    "vgg": Vgg,
    "esrgan": partial(Deep, features=64),
    "deep": Deep,
    "unet": lambda patch, channels: UNet(channels),
}
# Smaller patches vanish on the way through the layers.
_LEAST = 16


def build(name: str, patch: int, channels: int) -> nn.Module:
    """Build the discriminator for high-resolution patches of `patch` pixels on a side.

    Raises `UsageError` for an unknown name or a patch that is too small.
    """
    if name not in DISCRIMINATORS:
        raise UsageError(f"no discriminator called '{name}'", f"there are: {', '.join(DISCRIMINATORS)}")
    if patch < _LEAST:
        raise UsageError(
            f"the discriminator '{name}' cannot take patches of {patch} px",
            f"scale times --patch must be at least {_LEAST}",
        )
    return DISCRIMINATORS[name](patch, channels)
