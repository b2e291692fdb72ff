"""Meta-SR: RDN's features met by filters that a small network makes for each place between two pixels.

Keys as in the authors' code (XuecaiHu/Meta-SR-Pytorch): RDN's own, here below `encoder`, and P2W. Their mean
shift is constants here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Paper, Traits
from srcli.archs.anyscale import Continuous, corners, in_portions, taken
from srcli.archs.blocks import MeanShift, renamed, without_mean_shift
from srcli.archs.rdn import Encoder
from srcli.scales import Axis, Window

PAPER = Paper(
    "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution",
    2019,
    "https://arxiv.org/abs/1903.00875",
)
TRAITS = Traits(scales=(2, 3, 4), any_scale=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"blocks": 20, "layers": 6, "growth": 32})


class Network(Continuous):
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
        self.P2W = _Filters(features, hidden)

    def forward(self, batch: Tensor, window: Window | None = None) -> Tensor:
        """(N, 3, H, W) of RGB in [0, 1] to the window of the output, by default all at `scale`."""
        features = F.pad(self.encoder(self.shift.enter(batch)), (1, 1, 1, 1))

        def make(part: Window) -> Tensor:
            out: Tensor = self.P2W(features, part)
            return out

        return self.shift.leave(in_portions(make, window or self.window(batch)))


class _Filters(nn.Module):
    """A 3x3 filter for each output pixel, by where its corner lies in an input pixel, and by the scale.

    The last layer is linear: instead of filters, what each of the `hidden` values stands for is applied, once
    for each input pixel, and the results are weighed by the values.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.features = features
        self.meta_block = nn.Sequential(nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 27 * features))

    def forward(self, features: Tensor, window: Window) -> Tensor:
        """(N, C, H+2, W+2), with a border of one pixel, to (N, 3, h, w) of the window."""
        y, x = (corners(axis, features) for axis in window)
        top, bottom = (window[0].corner(place) for place in (window[0].first, window[0].last - 1))
        rows = features[:, :, top : bottom + 3]
        values = self._values(y.offset, x.offset, window[0])
        parts = F.conv2d(rows, self._kernels()).movedim(1, 3)
        near = taken(parts, y.pixel - top, x.pixel)
        near = near.view(*near.shape[:3], 3, -1)
        return torch.einsum("yxk,nyxck->ncyx", values, near)

    def _values(self, y: Tensor, x: Tensor, axis: Axis) -> Tensor:
        """(h, w, hidden + 1) of what makes the filters; the last, for its bias, is 1."""
        first = self.meta_block[0]
        assert isinstance(first, nn.Linear)
        size, down, across = first.weight.unbind(1)
        place = y[:, None, None] * down + x[:, None] * across
        return F.pad(F.relu(place + size * axis.cell + first.bias), (0, 1), value=1.0)

    def _kernels(self) -> Tensor:
        """(3 * (hidden + 1), C, 3, 3): what each value, and the bias, adds to the filters of each colour."""
        last = self.meta_block[2]
        assert isinstance(last, nn.Linear)
        kernels = torch.cat((last.weight.T, last.bias[None])).view(-1, self.features, 3, 3, 3)
        return kernels.movedim(4, 0).flatten(0, 1)


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors, and put RDN's under `encoder`."""
    if "P2W.meta_block.0.weight" not in state or "encoder.SFENet1.weight" in state:
        return state
    return renamed(without_mean_shift(state), {r"^(SFENet|RDBs|GFF)": r"encoder.\1"})
