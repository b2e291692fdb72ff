"""FALSR-A: cells and the wires between them, found by evolution.

Keys are ours: the authors' file (xiaomi-automl/FALSR) is a TensorFlow graph. Its luma is of full range.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Paper, Traits
from srcli.archs.blocks import conv, renamed

PAPER = Paper(
    "Fast, Accurate and Lightweight Super-Resolution with Neural Architecture Search",
    2020,
    "https://arxiv.org/abs/1901.07261",
)
TRAITS = Traits(scales=(2,))


class Cell(NamedTuple):
    """Convolutions in a row, fed with the results of `sources`; with `skip` the first's is added at the end.

    Sources count the head as 0 and the cells from 1. `width` is in quarters of the network's features.
    """

    sources: tuple[int, ...]
    width: int
    size: int
    convs: int
    skip: bool


CELLS = (
    Cell((0,), 4, 3, 4, skip=True),
    Cell((1,), 3, 1, 1, skip=False),
    Cell((2,), 4, 3, 4, skip=True),
    Cell((2, 3), 4, 3, 4, skip=True),
    Cell((0, 2, 4), 4, 3, 4, skip=True),
    Cell((5,), 4, 1, 4, skip=False),
    Cell((0, 2, 5, 6), 4, 3, 4, skip=True),
)


class Network(nn.Module):
    """64 features, 32 in the head."""

    def __init__(self, *, scale: int, features: int = 64) -> None:
        super().__init__()
        self.channels = 1
        self.scale = scale
        # Head, five cells of four 3x3 convolutions, fusion, and the last on enlarged pixels.
        self.halo = 1 + 20 + 1 + 1
        shallow = features // 2
        widths = [shallow, *(cell.width * features // 4 for cell in CELLS)]
        self.head = conv(1, shallow)
        self.cells = nn.ModuleList(
            _Cell(sum(widths[source] for source in cell.sources), width, cell)
            for cell, width in zip(CELLS, widths[1:], strict=True)
        )
        self.fusion = conv(sum(widths), shallow)
        self.yout = conv(shallow // scale**2, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """(N, 1, H, W) of luma in [0, 1] to (N, 1, H*scale, W*scale)."""
        full_range = (batch * 255 - 16) / 219
        results = [F.relu(self.head(full_range))]
        for cell, layers in zip(CELLS, self.cells, strict=True):
            results.append(layers(torch.cat([results[source] for source in cell.sources], 1)))
        fused = F.relu(self.fusion(torch.cat(results, 1))) + results[0]
        out: Tensor = self.yout(_depth_to_space(fused, self.scale))
        return (out * 219 + 16) / 255


class _Cell(nn.ModuleList):
    def __init__(self, inputs: int, width: int, cell: Cell) -> None:
        super().__init__(
            conv(inputs if number == 0 else width, width, cell.size) for number in range(cell.convs)
        )
        self.skip = cell.skip

    def forward(self, batch: Tensor) -> Tensor:
        results = [batch]
        for layer in self:
            results.append(F.relu(layer(results[-1])))
        return results[-1] + results[1] if self.skip else results[-1]


def _depth_to_space(batch: Tensor, step: int) -> Tensor:
    """TensorFlow's pixel shuffle, whose channels count places within a square first."""
    number, channels, height, width = batch.shape
    squares = batch.view(number, step**2, channels // step**2, height, width)
    return F.pixel_shuffle(squares.transpose(1, 2).flatten(1, 2), step)


NAMES = {
    r"^.*\.n32s1\.c\.": "head.",
    r"^.*\.n32s1\.2\.0\.": "fusion.",
    r"^.*\.yout\.": "yout.",
    r"^.*\.cell(\d)\.conv_.*_b(\d)\.": r"cells.\1.\2.",
    r"\.kernel$": ".weight",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """The graph's names, and kernels whose channels come last; what turns its result to RGB is left out."""
    kernels = {key: value for key, value in state.items() if not key.rpartition(".")[2].startswith("Const")}
    turned = {
        key: value.permute(3, 2, 0, 1) if key.endswith(".kernel") and value.ndim == 4 else value
        for key, value in kernels.items()
    }
    return renamed(turned, NAMES)
