"""VapSR: pixels weighted by depth-wise and dilated convolutions that see far around them.

Keys as in the authors' code (zhoumumu/VapSR): conv_first, body, conv_body, upsampler.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv

PAPER = Paper(
    "Efficient Image Super-Resolution using Vast-Receptive-Field Attention",
    2022,
    "https://arxiv.org/abs/2210.05960",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"features": 32, "blocks": 11, "groups": 2})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "attended": 16},
    counts=(
        Count(2, 329_236),  # 329K
        Count(3, 336_811),  # 337K
        Count(4, 342_220),  # 342K
        Count(4, 154_956, {"features": 32, "blocks": 11, "groups": 2}),  # VapSR-S: 155K
    ),
    export_errors={"ncnn": "permute"},
)


class Network(nn.Module):
    """21 blocks of 48 at x4 and 20 at x2 and x3; VapSR-S has 11 of 32, and 2 `groups` after them.

    `attended`: the channels of the attention.
    """

    def __init__(
        self, *, scale: int, features: int = 48, blocks: int = 0, attended: int = 64, groups: int = 1
    ) -> None:
        super().__init__()
        self.channels = 3
        blocks = blocks or (21 if scale == 4 else 20)
        # Eight per block, head, body's end and tail; through many blocks next to nothing comes from far away.
        self.halo = min(64, 8 * blocks + 4)
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*(_Block(features, attended) for _ in range(blocks)))
        self.conv_body = conv(features, features, groups=groups)
        self.upsampler = _make_upsampler(features, scale)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.conv_first(batch)
        out: Tensor = self.upsampler(shallow + self.conv_body(self.body(shallow)))
        return out


def _make_upsampler(features: int, scale: int) -> nn.Sequential:
    """Return two pixel shuffles at x4, one at x2 and x3."""
    if scale == 4:
        shuffle = nn.PixelShuffle(2)
        return nn.Sequential(conv(features, 64), shuffle, nn.LeakyReLU(0.1), conv(16, 12), shuffle)
    return nn.Sequential(
        conv(features, 56), nn.LeakyReLU(0.1), conv(56, 3 * scale**2), nn.PixelShuffle(scale)
    )


class _Block(nn.Module):
    """Attention between two 1x1 convolutions, added to the input and normalised over channels."""

    def __init__(self, features: int, attended: int) -> None:
        super().__init__()
        self.proj_1, self.proj_2 = conv(features, attended, 1), conv(attended, features, 1)
        self.atten_branch = _Attention(attended)
        self.pixel_norm = nn.LayerNorm(features)
        nn.init.constant_(self.pixel_norm.weight, 0.1)

    def forward(self, batch: Tensor) -> Tensor:
        out = batch + self.proj_2(self.atten_branch(F.gelu(self.proj_1(batch))))
        normed: Tensor = self.pixel_norm(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class _Attention(nn.Module):
    """Each value times what 1x1, 5x5 and dilated 5x5 convolutions make of its surroundings, 17x17 pixels."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.pointwise = conv(features, features, 1)
        self.depthwise = conv(features, features, 5, groups=features)
        self.depthwise_dilated = nn.Conv2d(features, features, 5, padding=6, dilation=3, groups=features)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch * self.depthwise_dilated(self.depthwise(self.pointwise(batch)))
        return out
