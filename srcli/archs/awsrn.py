"""AWSRN: residual units with learned weights, and an upsampler whose kernels have four sizes.

Keys as in the authors' code (ChaofWang/AWSRN): head, body, tail, skip; the units of a block are b0, b1 and so
on, also those of its second version, lfl.0. The Hub's AWSRN-BAM (eugenesiow/awsrn-bam) takes [0, 1] as it is
and has balanced attention after its blocks.
"""

from typing import Any

from torch import Tensor, nn

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import BalancedAttention, MeanShift, rename_keys
from srcli.archs.lapar import LearnedScale, LocalFusion, make_layer, merge_weight_norm

PAPER = Paper(
    "Lightweight Image Super-Resolution with Adaptive Weighted Learning Network",
    2019,
    "https://arxiv.org/abs/1904.02358",
)
TRAITS = Traits(scales=(2, 3, 4, 8))
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"blocks": 3},
    {"blocks": 1},
    {"blocks": 1, "units": 8, "features": 16},
    {"bam": True, "span": 1.0, "mean": 0.0},
)
FACTS = Facts(
    small={"blocks": 2, "units": 2, "features": 8, "hidden": 16},
    counts=(
        Count(2, 1_396_872),  # 1397K
        Count(3, 1_476_147),  # 1476K
        Count(4, 1_587_132),  # 1587K
        Count(4, 1_254_002, {"blocks": 3}),  # AWSRN-M: 1254K
        Count(4, 587_742, {"blocks": 1}),  # AWSRN-S: 588K
        Count(4, 443_894, {"blocks": 1, "units": 8, "features": 16}),  # AWSRN-SD: 444K
    ),
)

# The sides of the upsampler's kernels.
SIZES = (3, 5, 7, 9)


class Network(nn.Module):
    """Four blocks; AWSRN-M has three, AWSRN-S one, AWSRN-SD one of 8 `units` and 16 features.

    `hidden`: the features inside a unit. `normed`: with weight normalisation. `bam`: balanced attention.
    `span`, `mean`: see `MeanShift`.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 4,
        units: int = 4,
        features: int = 32,
        hidden: int = 128,
        normed: bool = True,
        bam: bool = False,
        span: float = 2.0,
        mean: float = 2.0,
    ) -> None:
        super().__init__()
        self.channels = 3
        # Head, two per unit and one per block, balanced attention, and the largest kernel of the upsampler.
        self.halo = 1 + (2 * units + 1) * blocks + (3 if bam else 0) + SIZES[-1] // 2
        self.shift = MeanShift(span, mean)
        self.head = nn.Sequential(make_layer(3, features, normed=normed))
        self.body = nn.Sequential(*(LocalFusion(features, hidden, units, normed) for _ in range(blocks)))
        self.attention = BalancedAttention(features, reduction=8) if bam else nn.Identity()
        self.tail = _Upsampler(features, 3 * scale**2, normed)
        self.skip = nn.Sequential(make_layer(3, 3 * scale**2, normed=normed))
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        batch = self.shift.enter(batch)
        features = self.attention(self.body(self.head(batch)))
        return self.shift.leave(self.shuffle(self.tail(features) + self.skip(batch)))


class _Upsampler(nn.Module):
    """The sum of convolutions with kernels of different sizes, each with a learned weight."""

    def __init__(self, features: int, outputs: int, normed: bool) -> None:
        super().__init__()
        for size in SIZES:
            self.add_module(f"tail_k{size}", make_layer(features, outputs, size, normed=normed))
            self.add_module(f"scale_k{size}", LearnedScale(1 / len(SIZES)))

    def forward(self, batch: Tensor) -> Tensor:
        branches = [
            self.get_submodule(f"scale_k{size}")(self.get_submodule(f"tail_k{size}")(batch)) for size in SIZES
        ]
        out: Tensor = sum(branches[1:], branches[0])
        return out


def deploy(network: nn.Module, config: dict[str, Any], scale: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the same function with plain convolutions, and its config."""
    plain_config = {**config, "normed": False}
    plain = Network(scale=scale, **plain_config)
    merge_weight_norm(network, plain)
    return plain, plain_config


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the units of the authors' second version as those of their first."""
    return rename_keys(state, {r"\.lfl\.(\d+)\.": r".b\1."})
