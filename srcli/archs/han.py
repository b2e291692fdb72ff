"""HAN: RCAN with attention over its layers, and over channels and places at once.

Keys as in the authors' code (wwlCape/HAN): head, body, csa, la, last_conv, last, tail.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import (
    ChannelAttention,
    MeanShift,
    conv,
    drop_mean_shift,
    make_attention_group,
    make_upsampler,
    rename_keys,
)

PAPER = Paper(
    "Single Image Super-Resolution via a Holistic Attention Network", 2020, "https://arxiv.org/abs/2008.08767"
)
TRAITS = Traits(scales=(2, 3, 4, 8), local=False)
FACTS = Facts(
    small={"groups": 2, "blocks": 1, "features": 16, "span": 1.0, "mean": 1.0},
    counts=(
        Count(4, 16_071_745),  # 16.07M
    ),
    export_errors={"ncnn": "stack"},
)


class Network(nn.Module):
    """Ten groups of twenty blocks. `span`, `mean`: see `MeanShift`.

    The Hub's network takes [0, 1] as it is and yet subtracts a mean colour of 255: `span` 1 with `mean` 255.
    """

    def __init__(
        self,
        *,
        scale: int,
        groups: int = 10,
        blocks: int = 20,
        features: int = 64,
        span: float = 255.0,
        mean: float = 255.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        # As RCAN, with three more for what follows the groups.
        self.halo = min(64, groups * (2 * blocks + 1) + 7)
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        body = [
            make_attention_group(features, blocks, lambda: ChannelAttention(features)) for _ in range(groups)
        ]
        self.body = nn.Sequential(*body, conv(features, features))
        self.csa = _ChannelSpatial()
        self.la = _Layers()
        self.last_conv = conv((groups + 1) * features, features)
        self.last = conv(2 * features, features)
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        features = shallow = self.head(self.shift.enter(batch))
        layers: list[Tensor] = []
        for layer in self.body:
            features = layer(features)
            layers.insert(0, features)
        of_layers = self.last_conv(self.la(torch.stack(layers, 1)))
        fused = self.last(torch.cat((self.csa(features), of_layers), 1))
        return self.shift.leave(self.tail(shallow + fused))


class _Layers(nn.Module):
    """Layer attention: to each layer, the features of layers that resemble it least are added."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, layers: Tensor) -> Tensor:
        """Map (N, L, C, H, W) to (N, L*C, H, W)."""
        flat = layers.flatten(2)
        alike = flat @ flat.mT
        weights = torch.softmax(alike.amax(-1, keepdim=True) - alike, -1)
        out: Tensor = self.gamma * (weights @ flat) + flat
        return out.view_as(layers).flatten(1, 2)


class _ChannelSpatial(nn.Module):
    """Channel-spatial attention: each value weighted by a 3x3x3 filter over channel, row and column.

    The filter is kept as three planes: a 3-D convolution can't be laid out channels-last beside 2-D ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(1, 3, bias=False)
        self.bias = nn.Parameter(torch.zeros(1))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        planes = self.conv(batch.flatten(0, 1)[:, None]).unflatten(0, batch.shape[:2])
        before, own, after = F.pad(planes, (0, 0, 0, 0, 0, 0, 1, 1)).unbind(2)
        gate = torch.sigmoid(before[:, :-2] + own[:, 1:-1] + after[:, 2:] + self.bias)
        out: Tensor = batch + batch * (self.gamma * gate)
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors, and take the 3-D filter as three planes."""
    state = rename_keys(drop_mean_shift(state), {r"^csa\.conv\.bias$": "csa.bias"})
    return {key: value[0, 0, :, None] if value.ndim == 5 else value for key, value in state.items()}
