"""UpConv7: seven layers, the last of which enlarges, of waifu2x. https://github.com/nagadomi/waifu2x

Keys as in nunif, the authors' code for PyTorch: net, numbered over convolutions and activations.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits

PAPER = Paper("waifu2x", 2016, "https://github.com/nagadomi/waifu2x")
TRAITS = Traits(scales=(2,))
FACTS = Facts(
    small={"widths": [8, 8, 16]},
    counts=(Count(2, 552_483),),  # the published files'
)
WIDTHS = (16, 32, 64, 128, 128, 256)


class Network(nn.Module):
    """Convolutions of these `widths`, and a transposed one."""

    def __init__(self, *, scale: int, widths: list[int] | tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.channels = 3
        # Nothing is padded with zeros: the input is extended by what the layers take away.
        self.margin = len(widths) + 1
        self.halo = self.margin
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3), nn.LeakyReLU(0.1)]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, 2*H, 2*W)."""
        out: Tensor = self.net(F.pad(batch, (self.margin,) * 4, mode="replicate"))
        return out
