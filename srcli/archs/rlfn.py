"""RLFN: residual blocks of three convolutions and spatial attention, made to be fast.

Keys as in the authors' code (bytedance/RLFN): conv_1, block, conv_2, upsampler; but its block_1 is block.0.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    MeanShift,
    SpatialAttention,
    conv,
    count_numbers,
    number_from_zero,
    pad_to_side,
    run_chain,
)

PAPER = Paper(
    "Residual Local Feature Network for Efficient Super-Resolution", 2022, "https://arxiv.org/abs/2205.07514"
)
TRAITS = Traits(scales=(2, 3, 4, 1), local=False)
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"features": 48},
    {"blocks": 4, "features": 46, "hidden": 48},
)
FACTS = Facts(
    small={"blocks": 2, "features": 16, "span": 1.0},
    counts=(
        Count(2, 526_856),  # 527K
        Count(4, 543_740),  # 544K
        Count(2, 454_620, {"features": 48}),  # RLFN-S: 454K
        Count(4, 317_218, {"blocks": 4, "features": 46, "hidden": 48}),  # NTIRE 2022's: the file's, 317K
    ),
)


class Network(nn.Module):
    """RLFN: six blocks of 52; RLFN-S has 48 `features`, the winner of NTIRE 2022 four blocks of 46.

    `hidden`: the features inside a block, 48 in the winner; `span`: the largest value, to the network;
    `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 6,
        features: int = 52,
        hidden: int | None = None,
        squeezed: int = 16,
        span: float = 255.0,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.scale = scale
        self.shift = MeanShift(span, mean=0.0, channels=channels)
        # The attention's grid depends on where a tile begins: an overlap that keeps tiles close to the whole.
        self.halo = 32
        self.conv_1 = conv(channels, features)
        self.block = nn.ModuleList(_Block(features, hidden or features, squeezed) for _ in range(blocks))
        self.conv_2 = conv(features, features)
        self.upsampler = nn.Sequential(conv(features, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        shallow = self.conv_1(self.shift.enter(pad_to_side(batch, SpatialAttention.LEAST)))
        features = run_chain(self.block, shallow)[-1]
        out = self.shift.leave(self.upsampler(shallow + self.conv_2(features)))
        height, width = batch.shape[2:]
        return out[..., : height * self.scale, : width * self.scale]


class _Block(nn.Module):
    def __init__(self, features: int, hidden: int, squeezed: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r = conv(features, hidden), conv(hidden, hidden)
        self.c3_r = conv(hidden, features)
        self.c5 = conv(features, features, 1)
        self.esa = SpatialAttention(features, squeezed, ("conv3",), nn.Identity(), conv)

    def forward(self, batch: Tensor) -> Tensor:
        features = batch
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            features = F.leaky_relu(layer(features), 0.05)
        out: Tensor = self.esa(self.c5(features + batch))
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the authors' numbered blocks as a list."""
    return number_from_zero(state, "block_")


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["conv_1.weight"].shape[:2]
    hidden = state["block.0.c1_r.weight"].shape[0]
    return {
        "blocks": count_numbers(state, "block."),
        "features": features,
        "hidden": None if hidden == features else hidden,
        "squeezed": state["block.0.esa.conv1.weight"].shape[0],
        "channels": channels,
    }
