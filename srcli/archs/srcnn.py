"""SRCNN: three convolutions over a bicubic enlargement.

Keys as in the paper's own numbering: conv1 (patches), conv2 (non-linear mapping), conv3 (reconstruction).
Borders are replicated, as in the published test code, so that the frame does not darken.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits

PAPER = Paper(
    "Image Super-Resolution Using Deep Convolutional Networks", 2016, "https://arxiv.org/abs/1501.00092"
)
TRAITS = Traits(scales=(2, 3, 4), pre_upsampled=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"mapping": 1}, {"mapping": 3})
FACTS = Facts(
    counts=(
        Count(2, 57_281),
        Count(2, 8_129, {"mapping": 1}),
        Count(2, 24_513, {"mapping": 3}),
    ),
)


class Network(nn.Module):
    """9-5-5 by default (57k parameters); `mapping` 1 gives 9-1-5 (8k), 3 gives 9-3-5 (24k)."""

    def __init__(self, *, scale: int, mapping: int = 5) -> None:
        super().__init__()
        self.channels = 1
        self.halo = 4 + mapping // 2 + 2
        self.conv1 = _conv(1, 64, 9)
        self.conv2 = _conv(64, 32, mapping)
        self.conv3 = _conv(32, 1, 5)
        self.act = nn.ReLU()

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of enlarged luma in [0, 1] to the same shape, restored."""
        out: Tensor = self.conv3(self.act(self.conv2(self.act(self.conv1(batch)))))
        return out


def _conv(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")
