"""FSRCNN: shrink, map, expand, then one transposed convolution.

Keys as in the widespread PyTorch port (yjn870/FSRCNN-pytorch): first_part, mid_part, last_part.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits

PAPER = Paper(
    "Accelerating the Super-Resolution Convolutional Neural Network", 2016, "https://arxiv.org/abs/1608.00367"
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"features": 32, "shrunk": 5, "depth": 1})
FACTS = Facts(
    counts=(
        Count(2, 12_809),
        Count(4, 12_809),
        Count(3, 4_086, {"features": 32, "shrunk": 5, "depth": 1}),  # FSRCNN-s: 3937 and biases, PReLU
    ),
)


class Network(nn.Module):
    """`features` d, `shrunk` s and `depth` m of the paper: FSRCNN(56, 12, 4); FSRCNN-s is (32, 5, 1)."""

    def __init__(self, *, scale: int, features: int = 56, shrunk: int = 12, depth: int = 4) -> None:
        super().__init__()
        self.channels = 1
        # 5x5 features, `depth` 3x3 mappings, and the 9x9 kernel's reach in input pixels.
        self.halo = 2 + depth + (scale + 3) // scale
        self.first_part = nn.Sequential(nn.Conv2d(1, features, 5, padding=2), nn.PReLU(features))
        mapping: list[nn.Module] = [nn.Conv2d(features, shrunk, 1), nn.PReLU(shrunk)]
        for _ in range(depth):
            mapping += [nn.Conv2d(shrunk, shrunk, 3, padding=1), nn.PReLU(shrunk)]
        mapping += [nn.Conv2d(shrunk, features, 1), nn.PReLU(features)]
        self.mid_part = nn.Sequential(*mapping)
        self.last_part = Deconvolution(features, 1, 9, stride=scale, padding=4, output_padding=scale - 1)
        self._initialise()

    def _initialise(self) -> None:
        """Initialise convolutions by He's method, and the end with the paper's small Gaussian weights."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=0.25)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.last_part.weight, std=0.001)
        nn.init.zeros_(self.last_part.bias)  # type: ignore[arg-type]

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of luma in [0, 1] to (N, 1, H*scale, W*scale)."""
        out: Tensor = self.last_part(self.mid_part(self.first_part(batch)))
        return out


class Deconvolution(nn.ConvTranspose2d):
    """A transposed convolution, computed as a convolution and a pixel shuffle, which is faster on CPUs.

    Not in ncnn, except for 3x3 kernels by Winograd's method: for others it copies the inputs of every output,
    1.5 GB for a tile of 512x512 at x2. `literal` keeps the transposed convolution there.
    """

    literal = False

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, C, H, W) to (N, 1, H*scale, W*scale).

        Output pixel s*j + r gets the kernel's taps s*d + r + padding for the input pixels j - d.
        """
        scale, padding, size = self.stride[0], int(self.padding[0]), self.kernel_size[0]
        reach = (scale + padding - 1) // scale
        if self.literal and reach > 1:
            return super().forward(features, output_size)
        taps = 2 * reach + 1
        left = scale * reach - padding
        kernel = F.pad(self.weight, (left, scale * taps - size - left) * 2)
        phases = kernel.view(-1, taps, scale, taps, scale).permute(2, 4, 0, 1, 3).flip(3, 4)
        out = F.conv2d(features, phases.reshape(scale**2, -1, taps, taps), padding=reach)
        shuffled = F.pixel_shuffle(out, scale)
        return shuffled if self.bias is None else shuffled + self.bias
