"""RRDBNet: dense residual blocks within residual blocks, the generator of ESRGAN.

Also of BSRGAN (https://arxiv.org/abs/2103.14006) and Real-ESRGAN (https://arxiv.org/abs/2107.10833). Keys as
in BasicSR and Real-ESRGAN: conv_first, body, conv_body, conv_up1, conv_up2, conv_hr, conv_last.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import IdentityPath, conv, count_numbers, rename_keys

PAPER = Paper(
    "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
    2018,
    "https://arxiv.org/abs/1809.00219",
)
TRAITS = Traits(scales=(1, 2, 4, 8, 16), local=False)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 6}, {"unshuffle": False})
FACTS = Facts(
    small={"blocks": 1, "features": 16, "growth": 8},
    counts=(
        Count(4, 16_697_987),  # 16.7M
        Count(4, 4_467_779, {"blocks": 6}),
        Count(2, 16_703_171),
    ),
)


class Network(nn.Module):
    """23 blocks; Real-ESRGAN's small network for anime has 6.

    With `unshuffle`, as in Real-ESRGAN, x2 and x1 are the x4 network on pixels packed into channels;
    without it, as in BSRGAN, they have one step of enlargement or none. `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 23,
        features: int = 64,
        growth: int = 32,
        unshuffle: bool = True,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.packed = max(1, 4 // scale) if unshuffle else 1
        # Tiles have to begin at a multiple of this many pixels.
        self.alignment = self.packed
        # Head, 15 a block, one after them, and two for all on enlarged pixels. But what is farther than 48
        # pixels changes the anime network's output by less than a quarter of an 8-bit level: enough is 64.
        self.halo = min(15 * blocks + 4, 64) * self.packed
        self.conv_first = conv(channels * self.packed**2, features)
        self.body = nn.Sequential(*(_Block(features, growth) for _ in range(blocks)))
        self.conv_body = conv(features, features)
        self.steps = {1: 0, 2: 1, 4: 2, 8: 3, 16: 4}[scale * self.packed]
        for number in range(1, self.steps + 1):
            self.add_module(f"conv_up{number}", conv(features, features))
        self.conv_hr = conv(features, features)
        self.conv_last = conv(features, channels)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        shallow = self.conv_first(_pack(batch, self.packed))
        features = shallow + self.conv_body(self.body(shallow))
        for number in range(1, self.steps + 1):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = F.leaky_relu(self.get_submodule(f"conv_up{number}")(larger), 0.2)
        out: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(features), 0.2))
        height, width = (side * 2**self.steps // self.packed for side in batch.shape[2:])
        return out[..., :height, :width]

    def identity_path(self) -> IdentityPath:
        """Return the layers that colours pass beside the blocks."""
        ups = [self.get_submodule(f"conv_up{number}") for number in range(1, self.steps + 1)]
        layers = (self.conv_first, *ups, self.conv_hr, self.conv_last)
        return IdentityPath(tuple((layer, 1) for layer in layers), (self.conv_body,))  # type: ignore[misc]


def _pack(batch: Tensor, size: int) -> Tensor:
    """Pack squares of `size` pixels into channels; edges are padded by repetition."""
    if size == 1:
        return batch
    height, width = batch.shape[2:]
    padded = F.pad(batch, (0, -width % size, 0, -height % size), mode="replicate")
    return F.pixel_unshuffle(padded, size)


class _Block(nn.Module):
    """Three dense blocks, and a fifth of their result added to the input."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _Dense(features, growth)
        self.rdb2 = _Dense(features, growth)
        self.rdb3 = _Dense(features, growth)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + 0.2 * self.rdb3(self.rdb2(self.rdb1(batch)))
        return out


class _Dense(nn.Module):
    """Five convolutions, each fed with all before it, and a fifth of the last added to the input."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv(features, growth)
        self.conv2 = conv(features + growth, growth)
        self.conv3 = conv(features + 2 * growth, growth)
        self.conv4 = conv(features + 3 * growth, growth)
        self.conv5 = conv(features + 4 * growth, features)
        # ESRGAN's initialisation: a tenth of He's weights, in these five only.
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, batch: Tensor) -> Tensor:
        known = batch
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            known = torch.cat((known, F.leaky_relu(layer(known), 0.2)), 1)
        out: Tensor = batch + 0.2 * self.conv5(known)
        return out


BSRGAN_NAMES = {
    r"^RRDB_trunk\.": "body.",
    r"\.RDB(\d)\.": r".rdb\1.",
    r"^trunk_conv\.": "conv_body.",
    r"^upconv(\d)\.": r"conv_up\1.",
    r"^HRconv\.": "conv_hr.",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename from the two generations of ESRGAN's code before BasicSR, used by BSRGAN and many others."""
    return rename_keys(rename_keys(state, _list_numbered_names(state)), BSRGAN_NAMES)


def _list_numbered_names(state: dict[str, Any]) -> dict[str, str]:
    """Return rules for files that number layers: model.0, model.1.sub and those after them."""
    found = (re.match(r"model\.(\d+)\.", key) for key in state)
    numbers = sorted({int(match[1]) for match in found if match})
    if len(numbers) < 4:
        return {}
    *ups, hr, last = numbers[2:]
    rules = {
        r"^model\.0\.": "conv_first.",
        r"^model\.1\.sub\.(\d+)\.(RDB\d)\.(conv\d)\.0\.": r"body.\1.\2.\3.",
        r"^model\.1\.sub\.\d+\.(weight|bias)$": r"conv_body.\1",
        rf"^model\.{hr}\.": "conv_hr.",
        rf"^model\.{last}\.": "conv_last.",
    }
    return rules | {rf"^model\.{up}\.": f"conv_up{number}." for number, up in enumerate(ups, 1)}


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show."""
    features, packed = state["conv_first.weight"].shape[:2]
    channels = state["conv_last.weight"].shape[0]
    return {
        "blocks": count_numbers(state, "body."),
        "features": features,
        "growth": state["body.0.rdb1.conv1.weight"].shape[0],
        "unshuffle": packed > channels or "conv_up2.weight" in state,
        "channels": channels,
    }
