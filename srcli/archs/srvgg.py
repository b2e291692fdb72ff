"""SRVGGNetCompact: a plain network for video, of Real-ESRGAN.

Keys as in the authors' code (xinntao/Real-ESRGAN): body, numbered over convolutions and activations.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, count_numbers
from srcli.errors import UsageError

PAPER = Paper(
    "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
    2021,
    "https://arxiv.org/abs/2107.10833",
)
TRAITS = Traits(scales=(2, 3, 4, 1))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"convs": 32})
FACTS = Facts(
    small={"convs": 3, "features": 16},
    counts=(
        Count(4, 621_424),  # the published files'
        Count(4, 1_213_296, {"convs": 32}),
    ),
)


class Network(nn.Module):
    """16 inner convolutions of 64 as in realesr-animevideov3; realesr-general-x4v3 has 32 `convs`.

    `channels`: 1 for luma; `inner`: the scale of a network whose result is reduced to `scale`, as the authors
    do for x2 and x3; 0 if it is `scale`.
    """

    def __init__(
        self, *, scale: int, features: int = 64, convs: int = 16, channels: int = 3, inner: int = 0
    ) -> None:
        super().__init__()
        self.channels = channels
        self.scale = scale
        self.inner = inner or scale
        if self.inner < scale:
            raise UsageError(f"a network for x{inner} cannot be reduced to x{scale}", "change inner")
        self.halo = convs + 2 + (self.inner > scale)
        layers: list[nn.Module] = [conv(channels, features), nn.PReLU(features)]
        for _ in range(convs):
            layers += [conv(features, features), nn.PReLU(features)]
        # Without a path around them, PyTorch's own weights let features vanish over so many layers.
        for layer in layers[::2]:
            nn.init.kaiming_normal_(layer.weight, a=0.25)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.body = nn.Sequential(*layers, conv(features, channels * self.inner**2))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        residual = F.pixel_shuffle(self.body(batch), self.inner)
        out = residual + F.interpolate(batch, scale_factor=self.inner, mode="nearest")
        if self.inner == self.scale:
            return out
        return F.interpolate(out, scale_factor=self.scale / self.inner, mode="bicubic")


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show: convolutions alternate with activations."""
    features, channels = state["body.0.weight"].shape[:2]
    return {"features": features, "convs": (count_numbers(state, "body.") - 3) // 2, "channels": channels}
