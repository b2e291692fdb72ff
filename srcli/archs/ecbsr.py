"""ECBSR: plain 3x3 convolutions, over-parameterised while they learn.

Keys as in the authors' code (xindongzhang/ECBSR). While training, each convolution is the sum of five
linear branches; they are added up to one kernel at every step, which is the same function at the cost
of the plain network, and `merge` leaves only that kernel.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import disable_autocast, make_bicubic_kernel

PAPER = Paper(
    "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices",
    2021,
    "https://doi.org/10.1145/3474085.3475291",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = tuple(
    {"blocks": m, "features": c, "branches": b} | more
    for m, c, more in (
        (10, 32, {}),
        (4, 8, {}),
        (4, 16, {}),
        (10, 16, {}),
        (16, 64, {}),
        (10, 32, {"channels": 3}),
    )
    for b in (True, False)
)
FACTS = Facts(
    counts=(
        Count(2, 594_884, {"branches": False, "blocks": 16, "features": 64}),
        Count(4, 601_808, {"branches": False, "blocks": 16, "features": 64}),
        Count(4, 97_776, {"branches": False}),
    ),
)


class Network(nn.Module):
    """M`blocks`C`features` of the paper on luma, with its nearest-neighbour residual or a bicubic one.

    `branches`: with what is learned beside the 3x3 kernels; `identity`: each block adds its input;
    `channels`: 3 for one that sees colours.
    """

    phases: Tensor | None

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 10,
        features: int = 32,
        residual: str = "nearest",
        branches: bool = True,
        identity: bool = False,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.halo = blocks + 2
        widths = [channels, *[features] * (blocks + 1)]
        layers: list[nn.Module] = [
            _Block(before, after, branches, identity) for before, after in itertools.pairwise(widths)
        ]
        layers.append(_Block(features, channels * scale**2, branches, identity, activated=False))
        self.backbone = nn.Sequential(*layers)
        self.upsampler = nn.PixelShuffle(scale)
        phases = make_bicubic_kernel(scale).repeat(channels, 1, 1, 1) if residual == "bicubic" else None
        self.register_buffer("phases", phases, persistent=False)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) of luma, or RGB, in [0, 1] to (N, C, H*scale, W*scale)."""
        enlarged: Tensor = self.upsampler(self.backbone(batch) + self._upscale_plainly(batch))
        return enlarged

    def _upscale_plainly(self, batch: Tensor) -> Tensor:
        """Return the channels that the pixel shuffle turns into the plain upscaling; one may serve all."""
        if self.phases is None:
            return (
                batch if self.channels == 1 else batch.repeat_interleave(self.upsampler.upscale_factor**2, 1)
            )
        with disable_autocast(batch):  # half precision would round the image itself
            return F.conv2d(F.pad(batch, (2, 2, 2, 2), mode="replicate"), self.phases, groups=self.channels)


class _Block(nn.Module):
    """A 3x3 convolution that is the sum of its branches, and PReLU."""

    def __init__(
        self, inputs: int, outputs: int, branches: bool, identity: bool, activated: bool = True
    ) -> None:
        super().__init__()
        self.identity = identity and inputs == outputs
        self.conv3x3 = nn.Conv2d(inputs, outputs, 3, padding=1)
        if activated and not self.identity:
            # PyTorch's own weights let features vanish over ten layers without a path around them.
            nn.init.kaiming_normal_(self.conv3x3.weight, a=0.25)
            nn.init.zeros_(self.conv3x3.bias)  # type: ignore[arg-type]
        if branches:
            self.conv1x1_3x3 = _ExpandedBranch(inputs, outputs)
            self.conv1x1_sbx = _EdgeBranch(inputs, outputs, [[1, 0, -1], [2, 0, -2], [1, 0, -1]])
            self.conv1x1_sby = _EdgeBranch(inputs, outputs, [[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
            self.conv1x1_lpl = _EdgeBranch(inputs, outputs, [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
        self.act = nn.PReLU(outputs) if activated else nn.Identity()

    def merge(self) -> tuple[Tensor, Tensor]:
        """Return the one kernel (outputs, inputs, 3, 3) and bias that compute the same."""
        kernel, bias = self.conv3x3.weight, self.conv3x3.bias
        assert bias is not None
        for branch in self.children():
            if isinstance(branch, _ExpandedBranch | _EdgeBranch):
                more_kernel, more_bias = branch.merge()
                kernel, bias = kernel + more_kernel, bias + more_bias
        if self.identity:
            kernel = kernel + F.pad(
                torch.eye(kernel.shape[0], device=kernel.device)[..., None, None], (1, 1, 1, 1)
            )
        return kernel, bias

    def forward(self, batch: Tensor) -> Tensor:
        activated: Tensor = self.act(F.conv2d(batch, *self.merge(), padding=1))
        return activated


class _ExpandedBranch(nn.Module):
    """1x1 to twice the channels, then 3x3; it begins as zero, and so leaves a warm start as it is."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide = nn.Conv2d(inputs, 2 * outputs, 1)
        self.k0, self.b0 = wide.weight, wide.bias
        self.k1 = nn.Parameter(torch.zeros(outputs, 2 * outputs, 3, 3))
        self.b1 = nn.Parameter(torch.zeros(outputs))

    def merge(self) -> tuple[Tensor, Tensor]:
        assert self.b0 is not None
        kernel = torch.einsum("omyx,mi->oiyx", self.k1, self.k0[..., 0, 0])
        return kernel, self.k1.sum((2, 3)) @ self.b0 + self.b1


class _EdgeBranch(nn.Module):
    """1x1, then a fixed edge filter with a learned factor for each channel, which begins as zero."""

    def __init__(self, inputs: int, outputs: int, mask: list[list[int]]) -> None:
        super().__init__()
        point = nn.Conv2d(inputs, outputs, 1)
        self.k0, self.b0 = point.weight, point.bias
        self.scale = nn.Parameter(torch.zeros(outputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        filters = torch.tensor(mask, dtype=torch.float32).expand(outputs, 1, 3, 3)
        self.mask = nn.Parameter(filters.clone(), requires_grad=False)

    def merge(self) -> tuple[Tensor, Tensor]:
        assert self.b0 is not None
        filters = self.scale * self.mask
        return self.k0 * filters, filters.sum((1, 2, 3)) * self.b0 + self.bias


def deploy(network: nn.Module, config: dict[str, Any], scale: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the same function without branches, and its config."""
    plain_config = {**config, "branches": False, "identity": False}
    plain = Network(scale=scale, **plain_config)
    plain.load_state_dict(_merge_state(network))
    return plain, plain_config


def _merge_state(network: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, block in network.named_modules():
        if isinstance(block, _Block):
            state[f"{name}.conv3x3.weight"], state[f"{name}.conv3x3.bias"] = block.merge()
            state |= {f"{name}.act.{key}": value for key, value in block.act.state_dict().items()}
    return state
