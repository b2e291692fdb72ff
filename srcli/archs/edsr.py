"""EDSR: residual blocks without batch normalisation.

Keys as in the authors' PyTorch port (sanghyun-son/EDSR-PyTorch): head, body, tail. Files on the Hub
(eugenesiow/edsr) take [0, 1] and do not use the mean-shift tensors that they carry; the authors' files take
0..255 less the mean colour: `span` and `mean` 255, as do asrimanth/edsr-base-x2 to x4 for transformers.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, ResidualBlock, conv, drop_mean_shift, make_upsampler, rename_keys

PAPER = Paper(
    "Enhanced Deep Residual Networks for Single Image Super-Resolution",
    2017,
    "https://arxiv.org/abs/1707.02921",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 32, "features": 256, "res_scale": 0.1})
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 1_369_859),
        Count(3, 1_554_499),
        Count(4, 1_517_571),
        Count(2, 40_729_603, {"blocks": 32, "features": 256, "res_scale": 0.1}),
        Count(3, 43_680_003, {"blocks": 32, "features": 256, "res_scale": 0.1}),
        Count(4, 43_089_923, {"blocks": 32, "features": 256, "res_scale": 0.1}),
    ),
)


class Encoder(nn.Module):
    """Head and residual blocks: the features that tails of all kinds begin with."""

    alignment = 1

    def __init__(self, blocks: int = 16, features: int = 64, res_scale: float = 1.0) -> None:
        super().__init__()
        # Head, two per block, body's end.
        self.halo = 2 * blocks + 2
        self.head = nn.Sequential(conv(3, features))
        residual = [ResidualBlock(features, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, features, H, W)."""
        shallow = self.head(batch)
        out: Tensor = shallow + self.body(shallow)
        return out


class Network(Encoder):
    """The baseline by default (16 blocks of 64); the paper's full size is 32 blocks of 256, scaled by 0.1.

    `span`, `mean`: see `MeanShift`.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        features: int = 64,
        res_scale: float = 1.0,
        span: float = 1.0,
        mean: float = 0.0,
    ) -> None:
        super().__init__(blocks, features, res_scale)
        self.shift = MeanShift(span, mean)
        self.channels = 3
        self.halo += 2  # one for the upsampler and one for the tail
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return self.shift.leave(self.tail(super().forward(self.shift.enter(batch))))


TRANSFORMERS_NAMES = {
    r"^edsr_model\.(edsr_)?": "",
    r"^(body\.\d+)\.edsr_body\.": r"\1.body.",
    r"^upsampler\.([01])\.": r"tail.\1.",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the tensors of asrimanth's files; drop the mean shift."""
    return drop_mean_shift(rename_keys(state, TRANSFORMERS_NAMES))
