"""MSRResNet: SRResNet without normalisation, on top of bilinear upscaling, as in the code of ESRGAN.

Keys as in BasicSR (XPixelGroup/BasicSR): conv_first, body, upconv1, upconv2, conv_hr, conv_last.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import SHUFFLE_STEPS, conv, count_numbers

PAPER = Paper(
    "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
    2018,
    "https://arxiv.org/abs/1809.00219",
)
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(Count(4, 1_517_571),),  # as many as EDSR's baseline: other layers of the same sizes
)


class Network(nn.Module):
    """16 blocks of 64. `channels`: 1 for luma."""

    def __init__(self, *, scale: int, blocks: int = 16, features: int = 64, channels: int = 3) -> None:
        super().__init__()
        self.channels, self.scale = channels, scale
        # Head, two per block, upsampler, and two on enlarged pixels.
        self.halo = 1 + 2 * blocks + len(SHUFFLE_STEPS[scale]) + 2
        self.conv_first = conv(channels, features)
        self.body = nn.Sequential(*(_Block(features) for _ in range(blocks)))
        for number, step in enumerate(SHUFFLE_STEPS[scale], 1):
            self.add_module(f"upconv{number}", conv(features, features * step**2))
        self.conv_hr = conv(features, features)
        self.conv_last = conv(features, channels)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        features = self.body(F.leaky_relu(self.conv_first(batch), 0.1))
        for number, step in enumerate(SHUFFLE_STEPS[self.scale], 1):
            larger = F.pixel_shuffle(self.get_submodule(f"upconv{number}")(features), step)
            features = F.leaky_relu(larger, 0.1)
        out: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(features), 0.1))
        return out + F.interpolate(batch, scale_factor=self.scale, mode="bilinear", align_corners=False)


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(features, features), conv(features, features)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.conv2(F.relu(self.conv1(batch)))
        return out


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["conv_first.weight"].shape[:2]
    return {"blocks": count_numbers(state, "body."), "features": features, "channels": channels}
