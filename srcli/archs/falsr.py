"""FALSR: cells and the wires between them, found by evolution.

Keys are ours: the authors' files (xiaomi-automl/FALSR) are TensorFlow graphs. Their luma is of full range.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import conv, rename_keys
from srcli.errors import UsageError

PAPER = Paper(
    "Fast, Accurate and Lightweight Super-Resolution with Neural Architecture Search",
    2020,
    "https://arxiv.org/abs/1901.07261",
)
TRAITS = Traits(scales=(2,))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"model": "B"}, {"model": "C"})
FACTS = Facts(
    small={"features": 32},
    counts=(
        Count(2, 1_021_401),  # 1021K
        Count(2, 324_745, {"model": "B"}),  # 326K
        Count(2, 426_569, {"model": "C"}),  # the authors' file; their table says 408K
    ),
)


class Cell(NamedTuple):
    """Convolutions in a row, fed with the results of `sources`; with `skip` the first's is added at the end.

    Sources count the head as 0 and the cells from 1. `width` is in quarters of the network's features. With
    `inverted` each of `convs` is a residual bottleneck turned inside out, after a 1x1 convolution to `width`.
    The graphs call cells of one convolution `isskip` too, but add nothing there.
    """

    sources: tuple[int, ...]
    width: int
    size: int
    convs: int
    skip: bool = False
    groups: int = 1
    inverted: bool = False

    @property
    def reach(self) -> int:
        """The receptive field beyond the centre, in pixels."""
        return self.convs * (2 * (self.size // 2) + 1 if self.inverted else self.size // 2)


class Plan(NamedTuple):
    """A model of the paper: its cells, and whose results are fused in the end."""

    cells: tuple[Cell, ...]
    fused: tuple[int, ...]

    def reach(self) -> int:
        """Return the receptive field of the longest path through the cells, in pixels."""
        seen = [0]
        for cell in self.cells:
            seen.append(cell.reach + max(seen[source] for source in cell.sources))
        return max(seen[source] for source in self.fused)


PLANS = {
    "A": Plan(
        (
            Cell((0,), 4, 3, 4, skip=True),
            Cell((1,), 3, 1, 1),
            Cell((2,), 4, 3, 4, skip=True),
            Cell((2, 3), 4, 3, 4, skip=True),
            Cell((0, 2, 4), 4, 3, 4, skip=True),
            Cell((5,), 4, 1, 4),
            Cell((0, 2, 5, 6), 4, 3, 4, skip=True),
        ),
        fused=(0, 1, 2, 3, 4, 5, 6, 7),
    ),
    "B": Plan(
        (
            Cell((0,), 1, 3, 1, inverted=True),
            Cell((0, 1), 3, 1, 2, skip=True, inverted=True),
            Cell((0, 1, 2), 1, 1, 2, skip=True),
            Cell((3,), 2, 3, 4, inverted=True),
            Cell((2, 3, 4), 4, 3, 2),
            Cell((2, 4, 5), 1, 3, 4, groups=4),
            Cell((0, 1, 2, 6), 1, 3, 1),
        ),
        fused=(1, 4, 6, 7),
    ),
    "C": Plan(
        (
            Cell((0,), 2, 1, 1, groups=2),
            Cell((0, 1), 4, 1, 4),
            Cell((2,), 3, 3, 4, inverted=True),
            Cell((1, 3), 2, 1, 1, groups=2),
            Cell((0, 4), 2, 1, 1, groups=4),
            Cell((0, 5), 3, 1, 4),
            Cell((1, 6), 1, 3, 1),
        ),
        fused=(0, 2, 6, 7),
    ),
}


class Network(nn.Module):
    """FALSR-A, 64 features, 32 in the head; `model`: another of `PLANS`."""

    def __init__(self, *, scale: int, features: int = 64, model: str = "A") -> None:
        super().__init__()
        if model not in PLANS:
            raise UsageError(f"there is no FALSR-{model}", f"models: {', '.join(PLANS)}")
        self.channels = 1
        self.scale = scale
        self.plan = PLANS[model]
        # Head, cells, fusion, and the last on enlarged pixels.
        self.halo = 1 + self.plan.reach() + 1 + 1
        shallow = features // 2
        widths = [shallow, *(cell.width * features // 4 for cell in self.plan.cells)]
        self.head = conv(1, shallow)
        self.cells = nn.ModuleList(
            _build_cell(sum(widths[source] for source in cell.sources), width, cell)
            for cell, width in zip(self.plan.cells, widths[1:], strict=True)
        )
        self.fusion = conv(sum(widths[source] for source in self.plan.fused), shallow)
        self.yout = conv(shallow // scale**2, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 1, H, W) of luma in [0, 1] to (N, 1, H*scale, W*scale)."""
        full_range = (batch * 255 - 16) / 219
        results = [F.relu(self.head(full_range))]
        for cell, layers in zip(self.plan.cells, self.cells, strict=True):
            results.append(layers(_join(results, cell.sources)))
        fused = F.relu(self.fusion(_join(results, self.plan.fused))) + results[0]
        out: Tensor = self.yout(_depth_to_space(fused, self.scale))
        return (out * 219 + 16) / 255


def _join(results: list[Tensor], sources: Iterable[int]) -> Tensor:
    return torch.cat([results[source] for source in sources], 1)


def _build_cell(inputs: int, width: int, cell: Cell) -> nn.Module:
    return _BottleneckStack(inputs, width, cell) if cell.inverted else _Convs(inputs, width, cell)


class _Convs(nn.ModuleList):
    def __init__(self, inputs: int, width: int, cell: Cell) -> None:
        super().__init__(
            conv(inputs if number == 0 else width, width, cell.size, groups=cell.groups)
            for number in range(cell.convs)
        )
        self.skip = cell.skip

    def forward(self, batch: Tensor) -> Tensor:
        results = [batch]
        for layer in self:
            results.append(F.relu(layer(results[-1])))
        return results[-1] + results[1] if self.skip else results[-1]


class _BottleneckStack(nn.Module):
    def __init__(self, inputs: int, width: int, cell: Cell) -> None:
        super().__init__()
        self.enter = conv(inputs, width, 1)
        self.body = nn.Sequential(*(_Bottleneck(width, cell.size) for _ in range(cell.convs)))
        self.skip = cell.skip

    def forward(self, batch: Tensor) -> Tensor:
        entered = self.enter(batch)
        out: Tensor = self.body(entered)
        return entered + out if self.skip else out


class _Bottleneck(nn.Module):
    """Widened twofold, convolved channel by channel, narrowed again; the input is added."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.widen = conv(features, 2 * features, size)
        self.depth = conv(2 * features, 2 * features, groups=2 * features)
        self.narrow = conv(2 * features, features, size)

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.narrow(F.relu(self.depth(F.relu(self.widen(batch)))))
        return out


def _depth_to_space(batch: Tensor, step: int) -> Tensor:
    """TensorFlow's pixel shuffle, whose channels count places within a square first."""
    number, channels, height, width = batch.shape
    squares = batch.view(number, step**2, channels // step**2, height, width)
    return F.pixel_shuffle(squares.transpose(1, 2).flatten(1, 2), step)


NAMES = {
    r"^.*\.n32s1\.c\.": "head.",
    r"^.*\.n32s1\.2\.0\.": "fusion.",
    r"^.*\.yout\.": "yout.",
    r"^.*\.cell(\d)\.\w+_conv_supple\.": r"cells.\1.enter.",
    r"^.*\.cell(\d)\.\w+_b(\d)_conv_1\.": r"cells.\1.body.\2.widen.",
    r"^.*\.cell(\d)\.\w+_b(\d)_conv_2\.": r"cells.\1.body.\2.narrow.",
    r"^.*\.cell(\d)\.\w+_b(\d)depth_wise\.": r"cells.\1.body.\2.depth.",
    r"^.*\.cell(\d)\.\w+_b(\d)\.": r"cells.\1.\2.",
    r"^(cells\..*)\.(kernel|W|W_depthwise2d)$": r"\1.weight",
    r"^(cells\..*)\.(b|b_depthwise2d)$": r"\1.bias",
    r"\.kernel$": ".weight",
}


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the graph's tensors, and put channels first; drop the conversion to RGB."""
    kernels = {key: value for key, value in state.items() if not key.rpartition(".")[2].startswith("Const")}
    return rename_keys({key: _put_channels_first(key, value) for key, value in kernels.items()}, NAMES)


def _put_channels_first(key: str, value: Any) -> Any:
    kind = key.rpartition(".")[2]
    if kind in ("kernel", "W") and value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    return value.permute(2, 3, 0, 1) if kind == "W_depthwise2d" else value
