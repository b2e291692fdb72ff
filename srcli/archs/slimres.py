"""SlimRes: a slim residual network on luma, added to a bicubic upscaling; ours, for the bundled ladder."""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import UNPUBLISHED, Facts, Traits
from srcli.archs.blocks import conv, count_numbers, disable_autocast, make_bicubic_kernel, run_chain

PAPER = UNPUBLISHED
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"features": 32}, {"blocks": 8, "features": 64})
FACTS = Facts(small={"blocks": 2, "features": 16})


class Network(nn.Module):
    """Residual blocks of two 3x3 convolutions with a long skip; the output is added to the bicubic image.

    `channels` is 1 for luma and 3 for RGB; `fusion` joins the outputs of all blocks by a 1x1 convolution. The
    last layer starts at zero, so that an untrained network returns the bicubic image.
    """

    phases: Tensor

    def __init__(
        self, *, scale: int, blocks: int = 6, features: int = 48, channels: int = 1, fusion: bool = False
    ) -> None:
        super().__init__()
        self.channels = channels
        self.halo = 2 * blocks + 2
        self.head = conv(channels, features)
        self.body = nn.Sequential(*(_Block(features) for _ in range(blocks)))
        self.fusion = conv(features * blocks, features, 1) if fusion else None
        self.tail = conv(features, channels * scale**2)
        self.upsampler = nn.PixelShuffle(scale)
        self.register_buffer("phases", make_bicubic_kernel(scale).repeat(channels, 1, 1, 1), persistent=False)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) in [0, 1] to (N, C, H*scale, W*scale)."""
        features = self.head(batch)
        if self.fusion is None:
            deep = self.body(features)
        else:
            deep = self.fusion(torch.cat(run_chain(self.body, features), 1))
        detail = self.tail(deep + features)
        with disable_autocast(batch):  # half precision would round the image itself
            padded = F.pad(batch, (2, 2, 2, 2), mode="replicate")
            base = F.conv2d(padded, self.phases, groups=self.channels)
        enlarged: Tensor = self.upsampler(detail + base)
        return enlarged


class _Block(nn.Module):
    """x + conv(act(conv(x)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = conv(features, features)
        self.act = nn.PReLU(features)
        self.conv2 = conv(features, features)
        nn.init.kaiming_normal_(self.conv1.weight, a=0.25)
        # A small branch keeps the signal's variance through all blocks.
        nn.init.kaiming_normal_(self.conv2.weight, a=0.25)
        self.conv2.weight.data.mul_(0.1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out: Tensor = batch + self.conv2(self.act(self.conv1(batch)))
        return out


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, channels = state["head.weight"].shape[:2]
    return {
        "blocks": count_numbers(state, "body."),
        "features": features,
        "channels": channels,
        "fusion": "fusion.weight" in state,
    }


def rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map the keys of the first trial (`h`, `b.0` ... `b.11`, `a.0` ... `a.5`, `t`) to ours."""
    return {_rename_key(key): value for key, value in state.items()}


def _rename_key(key: str) -> str:
    module, _, name = key.rpartition(".")
    if module in ("h", "t"):
        return f"{'head' if module == 'h' else 'tail'}.{name}"
    if found := re.fullmatch(r"([ab])\.(\d+)", module):
        number = int(found[2])
        if found[1] == "a":
            return f"body.{number}.act.{name}"
        return f"body.{number // 2}.conv{number % 2 + 1}.{name}"
    return key
