"""CRAN: RCAN with convolutions that the whole image's context modulates.

No code or weights of the authors' are public. What the paper shares with RCAN has the keys of RCAN's code;
what it shares with context-gated convolution those of that code (XudongLinthu/context-gated-convolution):
weight, bias, ce, ce_bn, ci_bn2, ci, ci_bn, gd, gd2. Its batch normalisation is kept: without it the paper's
count would be missed by more than 1 %.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, Residual, conv, drop_mean_shift, make_upsampler

PAPER = Paper(
    "Context Reasoning Attention Network for Image Super-Resolution",
    2021,
    "https://doi.org/10.1109/ICCV48922.2021.00424",
)
TRAITS = Traits(scales=(2, 3, 4), local=False)
FACTS = Facts(
    small={"groups": 2, "blocks": 1, "features": 32, "span": 1.0, "mean": 1.0},
    counts=(
        Count(4, 19_882_355),  # 19.94M
    ),
    export_errors={"ncnn": "adaptive_avg_pool2d"},
)


class Network(nn.Module):
    """Ten groups of twenty blocks. `span`, `mean`: see `MeanShift`."""

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
        # As RCAN.
        self.halo = min(64, groups * (2 * blocks + 1) + 4)
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(conv(3, features))
        body = [_make_group(features, blocks) for _ in range(groups)]
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(shallow + self.body(shallow)))


def _make_group(features: int, blocks: int) -> Residual:
    inner = [Residual(_ModulatedConv(features), nn.ReLU(), _ModulatedConv(features)) for _ in range(blocks)]
    return Residual(*inner, conv(features, features))


class _ModulatedConv(nn.Conv2d):
    """A 3x3 convolution whose kernel is scaled, value by value, by what the image's ninths say."""

    # Channels that exchange what they know: those of a group, all groups in the same way.
    TOGETHER = 16

    def __init__(self, features: int) -> None:
        super().__init__(features, features, 3, padding=1)
        places, described = 9, 5
        self.together = min(self.TOGETHER, features)
        self.ce = nn.Linear(places, described, bias=False)
        self.reasoning = _Reasoning(features)
        self.ce_bn, self.ci_bn2, self.ci_bn = (nn.BatchNorm1d(features) for _ in range(3))
        self.ci = nn.Linear(self.together, self.together, bias=False)
        self.gd, self.gd2 = (nn.Linear(described, places, bias=False) for _ in range(2))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        kernels = self.weight * self._gate(batch)
        alone = batch.flatten(0, 1)[None]  # one image of N*C channels, in which each group has its own kernel
        out = F.conv2d(alone, kernels.flatten(0, 1), padding=1, groups=len(batch)).view_as(batch)
        return out + self.bias[:, None, None]  # type: ignore[index]

    def _gate(self, batch: Tensor) -> Tensor:
        """Compute the gate of each kernel value from (N, C, H, W): (N, C out, C in, 3, 3), in (0, 1)."""
        context = self.reasoning(self.ce(F.adaptive_avg_pool2d(batch, 3).flatten(2)))
        of_inputs = self.gd(F.relu(self.ce_bn(context)))
        of_outputs = self.gd2(F.relu(self.ci_bn(self._mix_channels(F.relu(self.ci_bn2(context))))))
        gate = torch.sigmoid(of_inputs[:, None] + of_outputs[:, :, None])
        return gate.view(*gate.shape[:3], 3, 3)

    def _mix_channels(self, context: Tensor) -> Tensor:
        """Mix (N, C, 5) within groups of channels."""
        grouped = context.view(len(context), -1, self.together, context.shape[2])
        out: Tensor = self.ci(grouped.mT).mT.flatten(1, 2)
        return out


class _Reasoning(nn.Module):
    """Descriptors of a context, each strengthened by those that it is related to.

    The paper gives no size for the spaces in which relations are measured; a quarter of the features leads to
    the parameters that it counts (19.94M at x4), and all of them to 12 % more.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.theta, self.phi = (nn.Linear(features, features // 4, bias=False) for _ in range(2))
        self.graph, self.residual = (nn.Linear(features, features, bias=False) for _ in range(2))

    def forward(self, context: Tensor) -> Tensor:
        """Map (N, C, 5): five descriptors over the channels, to the same shape."""
        descriptors = context.mT
        relations = self.theta(descriptors) @ self.phi(descriptors).mT
        weights = torch.sigmoid(self.residual(self.graph(relations @ descriptors)))
        out: Tensor = context + weights.mT * context
        return out


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors that code derived from RCAN's would have."""
    return drop_mean_shift(state)
