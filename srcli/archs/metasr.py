"""Meta-SR: RDN's features met by filters that a small network makes for each place between two pixels.

Keys as in the authors' code (XuecaiHu/Meta-SR-Pytorch): RDN's own, here below `encoder`, and P2W. Their mean
shift is constants here.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.anyscale import ArbitraryScaleNetwork, MetaUpscale, find_corner_pixels, run_in_bands
from srcli.archs.blocks import MeanShift, drop_mean_shift, rename_keys
from srcli.archs.rdn import Encoder
from srcli.scales import Window

PAPER = Paper(
    "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution",
    2019,
    "https://arxiv.org/abs/1903.00875",
)
TRAITS = Traits(scales=(2, 3, 4), any_scale=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 20, "layers": 6, "growth": 32})
FACTS = Facts(
    small={"blocks": 2, "layers": 2, "growth": 8, "features": 16, "hidden": 16, "span": 1.0},
    counts=(
        Count(2, 22_419_072),  # 22.4M
    ),
    export_errors={
        "ncnn": "its scale is an input",
        "onnx": "its scale is an input",
        "torchscript": "its scale is an input",
    },
)


class Network(ArbitraryScaleNetwork):
    """Meta-RDN, on the paper's RDN by default.

    `hidden`: width of what makes the filters; `span`: see `MeanShift`.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        layers: int = 8,
        growth: int = 64,
        features: int = 64,
        hidden: int = 256,
        span: float = 255.0,
    ) -> None:
        super().__init__(scale)
        self.shift = MeanShift(span, span)
        self.encoder = Encoder(blocks, layers, growth, features)
        # One for the filter, one as an output pixel's corner may lie in the pixel before.
        self.halo = self.encoder.halo + 2
        self.P2W = MetaUpscale(features, hidden, 1)

    def forward(self, batch: Tensor, window: Window | None = None) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to the window of the output, by default all at `scale`."""
        features = F.pad(self.encoder(self.shift.enter(batch)), (1, 1, 1, 1))

        def make(part: Window) -> Tensor:
            y, x = part
            rows = (y.find_corner(y.first), y.find_corner(y.last - 1))
            out: Tensor = self.P2W(
                features, find_corner_pixels(y, batch), find_corner_pixels(x, batch), (y.cell,), rows
            )
            return out

        return self.shift.leave(run_in_bands(make, window or self.window(batch)))


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors, and put RDN's under `encoder`."""
    if "P2W.meta_block.0.weight" not in state or "encoder.SFENet1.weight" in state:
        return state
    return rename_keys(drop_mean_shift(state), {r"^(SFENet|RDBs|GFF)": r"encoder.\1"})
