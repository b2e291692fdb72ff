"""SR-LUT: a network of so few pixels that it can be tabulated.

Keys as in the authors' code (yhjo09/SR-LUT): conv1 sees a window of pixels, the others have 1x1 kernels.
Its outputs for four rotations of an image are added, so that a window of 2x2 sees 3x3 pixels.
`imaging/lut.py` runs its table.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, init_he, list_combinations, pad_reflect
from srcli.errors import UsageError

PAPER = Paper(
    "Practical Single-Image Super-Resolution Using Look-Up Table",
    2021,
    "https://openaccess.thecvf.com/content/CVPR2021/html/"
    "Jo_Practical_Single-Image_Super-Resolution_Using_Look-Up_Table_CVPR_2021_paper.html",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"kernel": "f"}, {"kernel": "v"})
FACTS = Facts(
    counts=(
        Count(4, 18_000),
        Count(4, 17_936, {"kernel": "f"}),
        Count(2, 17_092, {"kernel": "v"}),
    ),
    export_errors={"ncnn": "reshape"},
)

# Height and width of the window, and the 8-bit levels between two samples of the published table.
_KERNELS = {"s": ((2, 2), 16), "f": ((1, 3), 16), "v": ((1, 2), 1)}


class Network(nn.Module):
    """18k parameters at x4. `kernel`: "s" sees 2x2 pixels, "f" three in a row, "v" two."""

    def __init__(self, *, scale: int, kernel: str = "s") -> None:
        super().__init__()
        if kernel not in _KERNELS:
            raise UsageError(f"srlut has no kernel '{kernel}'", f"there are: {', '.join(_KERNELS)}")
        self.channels = 3
        self.scale = scale
        self.window, self.interval = _KERNELS[kernel]
        self.halo = max(self.window) - 1
        self.conv1 = nn.Conv2d(1, 64, self.window)
        self.conv2, self.conv3, self.conv4, self.conv5 = (conv(64, 64, 1) for _ in range(4))
        self.conv6 = conv(64, scale**2, 1)
        self.act = nn.ReLU()
        self.shuffle = nn.PixelShuffle(scale)
        self.apply(init_he)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale), every channel by itself."""
        count, channels, height, width = batch.shape
        planes = batch.reshape(-1, 1, height, width)
        turns = [self._upscale_upright(planes.rot90(k, (2, 3))).rot90(-k, (2, 3)) for k in range(4)]
        # Table entries are 127ths, and four of them add up to levels of 255.
        total = torch.stack(turns).sum(0) * (127 / 255)
        return total.reshape(count, channels, height * self.scale, width * self.scale)

    def tables(self) -> dict[str, Tensor]:
        """Tabulate the output for every combination of sampled pixels: (L, ..., L, scale, scale) in [-1, 1].

        The last sample stands for 256, which the network sees as 255.
        """
        samples = torch.arange(0, 257, self.interval, device=self.conv1.weight.device).clamp(max=255) / 255
        windows = list_combinations(samples, self.window[0] * self.window[1])
        parts = windows.reshape(-1, 1, *self.window).chunk(8)
        entries = torch.cat([self._compute_entries(part) for part in parts])
        shape = [len(samples)] * windows.shape[1] + [self.scale, self.scale]
        return {"table": entries.reshape(shape)}

    def _upscale_upright(self, planes: Tensor) -> Tensor:
        """Upscale (N, 1, H, W) in this orientation, padded by reflection at the lower and right edges."""
        below, right = (side - 1 for side in self.window)
        enlarged: Tensor = self.shuffle(self._compute_entries(pad_reflect(planes, (0, right, 0, below))))
        return enlarged

    def _compute_entries(self, planes: Tensor) -> Tensor:
        """Compute the entry of each window of (N, 1, H, W): (N, scale**2, H', W') in [-1, 1]."""
        features = planes
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            features = self.act(layer(features))
        out: Tensor = self.conv6(features)
        return out.clamp(-1, 1)
