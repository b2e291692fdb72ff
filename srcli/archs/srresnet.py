"""SRResNet, the generator of SRGAN: residual blocks with batch normalisation.

Keys as in a public PyTorch port with weights on the Hub (Lornatang/SRGAN-PyTorch): conv1, trunk, conv2,
upsampling, conv3. Another port (leftthomas/SRGAN) differs in its blocks, its end and its range; deepinv's has
biases.
"""

from typing import Any

import torch
from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import SHUFFLE_STEPS, IdentityPath, conv, count_numbers, rename_keys

PAPER = Paper(
    "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network",
    2017,
    "https://arxiv.org/abs/1609.04802",
)
TRAITS = Traits(scales=(2, 3, 4, 8))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"bias": True},
    {"blocks": 5, "bias": True, "tanh": True},
    {"blocks": 5, "bias": True, "tanh": True, "prelu_end": True},
)
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(4, 1_547_350),  # 1.5M in the EDSR paper
        Count(4, 1_549_462, {"bias": True}),  # deepinv's
    ),
)


class Network(nn.Module):
    """The paper's 16 blocks of 64.

    `bias`: of convolutions before a normalisation; `tanh`: the result is tanh's, moved to [0, 1];
    `prelu_end`: a PReLU in the place of the normalisation after the blocks; `channels`: 1 for luma.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        features: int = 64,
        bias: bool = False,
        tanh: bool = False,
        prelu_end: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.tanh = tanh
        # 9x9, two per block, the blocks' end, upsampler, and 9x9 on enlarged pixels.
        self.halo = 4 + 2 * blocks + 1 + 2 + (4 + scale - 1) // scale
        self.conv1 = nn.Sequential(conv(channels, features, 9), nn.PReLU())
        self.trunk = nn.Sequential(*(_Block(features, bias) for _ in range(blocks)))
        end = nn.PReLU() if prelu_end else nn.BatchNorm2d(features)
        self.conv2 = nn.Sequential(conv(features, features, bias=bias), end)
        self.upsampling = nn.Sequential(*(_Step(features, step) for step in SHUFFLE_STEPS[scale]))
        self.conv3 = conv(features, channels, 9)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        shallow = self.conv1(batch)
        features = shallow + self.conv2(self.trunk(shallow))
        out: Tensor = self.conv3(self.upsampling(features))
        return (torch.tanh(out) + 1) / 2 if self.tanh else out

    def identity_path(self) -> IdentityPath:
        """Return the layers that colours pass beside the blocks."""
        ups: list[Any] = [(step.upsample_block[0], step.times) for step in self.upsampling]  # type: ignore[index]
        layers = ((self.conv1[0], 1), *ups, (self.conv3, 1))
        return IdentityPath(layers, (self.conv2[1],))


class _Block(nn.Module):
    def __init__(self, features: int, bias: bool) -> None:
        super().__init__()
        first, second = (conv(features, features, bias=bias) for _ in range(2))
        norms = (nn.BatchNorm2d(features), nn.BatchNorm2d(features))
        self.rcb = nn.Sequential(first, norms[0], nn.PReLU(), second, norms[1])

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.rcb(batch)
        return out


class _Step(nn.Module):
    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.times = step**2
        self.upsample_block = nn.Sequential(
            conv(features, features * step**2), nn.PixelShuffle(step), nn.PReLU()
        )

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = self.upsample_block(batch)
        return out


LEFTTHOMAS_NAMES = {
    r"^block1\.": "conv1.",
    r"^block7\.": "conv2.",
    r"^block8\.(\d)\.conv\.": r"upsampling.\1.upsample_block.0.",
    r"^block8\.(\d)\.prelu\.": r"upsampling.\1.upsample_block.2.",
    r"^block8\.\d\.(weight|bias)$": r"conv3.\1",
}
DEEPINV_NAMES = {
    r"^fe\.": "conv1.",
    r"^blocks\.(\d+)\.layers\.": r"trunk.\1.rcb.",
    r"^block\.([01])\.": r"conv2.\1.",
    r"^upsampling\.(\d+)\.([02])\.": r"upsampling.\1.upsample_block.\2.",
    r"^final_conv\.0\.": "conv3.",
}
PLACES = {"conv1": 0, "bn1": 1, "prelu": 2, "conv2": 3, "bn2": 4}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the tensors of leftthomas' port and of deepinv; add counters that files of old PyTorch lack."""
    rules = {
        rf"^block{number}\.{name}\.": f"trunk.{number - 2}.rcb.{place}."
        for number in range(2, 7)
        for name, place in PLACES.items()
    }
    state = rename_keys(state, rules | LEFTTHOMAS_NAMES | DEEPINV_NAMES)
    norms = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | state


def describe(state: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that tensors show; leftthomas' port, known by its names, ends with tanh."""
    features, channels = state["conv1.0.weight"].shape[:2]
    return {
        "blocks": count_numbers(state, "trunk."),
        "features": features,
        "bias": "trunk.0.rcb.0.bias" in state,
        "tanh": any(key.startswith("block8.") for key in state),
        "prelu_end": "conv2.1.running_mean" not in state,
        "channels": channels,
    }
