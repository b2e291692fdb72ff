"""DRRN: one residual unit of two convolutions, applied again and again.

Keys as in a public PyTorch port (jt827859032/DRRN-pytorch): input, conv1, conv2, output. It leaves out
the authors' batch normalisation, and so does this.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, rename_keys

PAPER = Paper(
    "Image Super-Resolution via Deep Recursive Residual Network",
    2017,
    "https://doi.org/10.1109/CVPR.2017.298",
)
TRAITS = Traits(scales=(2, 3, 4), pre_upsampled=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"units": 9})
FACTS = Facts(
    small={"units": 3, "features": 16},
    counts=(
        Count(2, 297_216),  # 297K
        Count(2, 297_216, {"units": 9}),
    ),
)


class Network(nn.Module):
    """B1U25 of the paper; `units` 9 gives B1U9, which has the same parameters."""

    def __init__(self, *, scale: int, units: int = 25, features: int = 128) -> None:
        super().__init__()
        self.channels = 1
        self.units = units
        self.halo = 2 * units + 2
        self.input = conv(1, features, bias=False)
        self.conv1 = conv(features, features, bias=False)
        self.conv2 = conv(features, features, bias=False)
        self.output = conv(features, 1, bias=False)
        # Each unit adds to what the one before it gave: small at first, or 25 of them grow without bounds.
        nn.init.kaiming_normal_(self.conv2.weight, a=5)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of enlarged luma in [0, 1] to the same shape, restored."""
        luma = F.relu(batch)
        identity = features = F.relu(self.input(luma))
        for _ in range(self.units):
            features = F.relu(self.conv2(F.relu(self.conv1(features))) + identity)
        out: Tensor = self.output(features) + luma
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Names of a converted file that numbers the four tensors in this order."""
    names = ("input", "conv1", "conv2", "output")
    rules = {f"^learned_{number}$": f"{name}.weight" for number, name in enumerate(names)}
    return rename_keys(state, rules)
