"""EDSR: residual blocks without batch normalisation.

Keys as in the authors' PyTorch port (sanghyun-son/EDSR-PyTorch): head, body, tail. Files on the Hub
(eugenesiow/edsr) take [0, 1] and do not use the mean-shift tensors that they carry; the authors' files take
0..255 less the mean colour: `span` and `mean` 255, as do asrimanth/edsr-base-x2 to x4 for transformers.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    MeanShift,
    ResidualBlock,
    conv,
    count_numbers,
    drop_mean_shift,
    list_basicsr_names,
    make_upsampler,
    rename_keys,
)

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

    def __init__(
        self, blocks: int = 16, features: int = 64, res_scale: float = 1.0, channels: int = 3
    ) -> None:
        super().__init__()
        # Head, two per block, body's end.
        self.halo = 2 * blocks + 2
        self.head = nn.Sequential(conv(channels, features))
        residual = [ResidualBlock(features, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, features, H, W)."""
        shallow = self.head(batch)
        out: Tensor = shallow + self.body(shallow)
        return out


class Network(Encoder):
    """The baseline by default (16 blocks of 64); the paper's full size is 32 blocks of 256, scaled by 0.1.

    `span`, `mean`: see `MeanShift`. `channels`: 1 for luma.
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
        channels: int = 3,
    ) -> None:
        super().__init__(blocks, features, res_scale, channels)
        self.shift = MeanShift(span, mean, channels=channels)
        self.channels = channels
        self.halo += 2  # one for the upsampler and one for the tail
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, channels))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        return self.shift.leave(self.tail(super().forward(self.shift.enter(batch))))


TRANSFORMERS_NAMES = {
    r"^edsr_model\.(edsr_)?": "",
    r"^(body\.\d+)\.edsr_body\.": r"\1.body.",
    r"^upsampler\.([01])\.": r"tail.\1.",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the tensors of asrimanth's files and of BasicSR; drop the mean shift."""
    rules = TRANSFORMERS_NAMES | list_basicsr_names(
        state, {r"\.conv1\.": ".body.0.", r"\.conv2\.": ".body.2."}
    )
    return drop_mean_shift(rename_keys(state, rules))


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show; the scale of residuals is that of the paper's sizes."""
    features, channels = state["head.0.weight"].shape[:2]
    return {
        "blocks": count_numbers(state, "body.") - 1,
        "features": features,
        "res_scale": 0.1 if features >= 256 else 1.0,
        "channels": channels,
    }
