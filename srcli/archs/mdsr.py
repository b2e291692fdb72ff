"""MDSR: one EDSR body for several scales, between each scale's own blocks and tail.

Keys as in the authors' PyTorch port (sanghyun-son/EDSR-PyTorch): head, pre_process, body, upsample, tail; but
each scale's parts carry its number, as in the files on the Hub (eugenesiow/mdsr), which hold one scale each.
"""

from collections.abc import Sequence
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
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"tails": [2, 3, 4]},
    {"blocks": 16, "tails": [2, 3, 4]},
    {"blocks": 32, "res_scale": 0.1, "kernel": 3, "span": 1.0, "mean": 0.0},
)
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 7_953_987, {"tails": [2, 3, 4]}),  # 8.0M
        Count(2, 3_227_203, {"blocks": 16, "tails": [2, 3, 4]}),  # 3.2M
    ),
)


class Network(nn.Module):
    """The paper's 80 blocks by default; its baseline has 16, the Hub's network 32 scaled by `res_scale`.

    `tails`: the scales that the file has parts for. `kernel`: size of the scale's own convolutions.
    `span`, `mean`: see `MeanShift`; the Hub's network takes [0, 1] as it is.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 80,
        features: int = 64,
        res_scale: float = 1.0,
        kernel: int = 5,
        tails: Sequence[int] = (),
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale
        # Head, four of the scale's own size, two per block, body's end; upsampler and tail.
        self.halo = 4 * (kernel // 2) + 2 * blocks + 4
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        self.pre_process = nn.ModuleDict()
        self.upsample = nn.ModuleDict()
        for tail in tails or (scale,):
            own = [ResidualBlock(features, res_scale, kernel) for _ in range(2)]
            self.pre_process[str(tail)] = nn.Sequential(*own)
            self.upsample[str(tail)] = make_upsampler(tail, features)
        shared = [ResidualBlock(features, res_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*shared, conv(features, features))
        self.tail = nn.Sequential(conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        own = str(self.scale)
        shallow = self.pre_process[own](self.head(self.shift.enter(batch)))
        features = self.upsample[own](shallow + self.body(shallow))
        return self.shift.leave(self.tail(features))


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Unwrap the Hub's convolutions, count scales as they are, and drop the mean shift."""
    state = drop_mean_shift(state)
    if "head.0.0.weight" in state:
        return rename_keys(state, {r"\.0\.(weight|bias)$": r".\1"})
    if any(key.startswith("pre_process.0.") for key in state):
        counted = {rf"^(pre_process|upsample)\.{tail - 2}\.": rf"\1.{tail}." for tail in (4, 3, 2)}
        return rename_keys(state, counted)
    return state
