"""SPLUT: networks of four values each, in rows and side by side, to be tabulated.

Keys as in the authors' code (zhjy2016/SPLUT), whose two files for the upper and the lower four bits of a
pixel are here `upper.` and `lower.`. In the names, 122 is a window of 2x2 in one channel, 221 and 212 one of
two channels and two pixels below or beside each other. `imaging/lut.py` runs the tables.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import init_he, list_combinations, pad_reflect
from srcli.errors import UsageError

PAPER = Paper(
    "Learning Series-Parallel Lookup Tables for Efficient Image Super-Resolution",
    2022,
    "https://arxiv.org/abs/2207.12987",
)
TRAITS = Traits(scales=(2, 3, 4))
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"size": "m"}, {"size": "s"})
FACTS = Facts(
    small={"size": "s"},
    counts=(
        Count(4, 165_920),  # as in the authors' files, as are the next two
        Count(4, 85_360, {"size": "m"}),
        Count(4, 83_800, {"size": "s"}),
    ),
    export_errors={"ncnn": "reshape", "onnx": "cannot read"},
)

# Values between tables are rounded down to whole numbers from -8 to 7, of which four make 16**4 entries.
LEVELS = 16
_FURTHEST = 7.9


@dataclass(frozen=True)
class _Size:
    """`features` between tables, tables in each direction, and what pixels' halves are divided by."""

    features: int
    parallel: int
    upper: float
    lower: float


_SIZES = {"s": _Size(4, 1, 255 / 16, 255), "m": _Size(8, 1, 16, 16), "l": _Size(16, 2, 16, 16)}


class Network(nn.Module):
    """SPLUT-L; `size` "m" and "s" have fewer and smaller tables."""

    def __init__(self, *, scale: int, size: str = "l") -> None:
        super().__init__()
        if size not in _SIZES:
            raise UsageError(f"splut has no size '{size}'", f"there are: {', '.join(_SIZES)}")
        self.channels = 3
        self.halo = 1 + 1 + 1
        self.scale = scale
        self.size = _SIZES[size]
        self.upper = _Half(scale, self.size, self.size.upper)
        self.lower = _Half(scale, self.size, self.size.lower)
        self.apply(init_he)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale), every channel by itself."""
        count, channels, height, width = batch.shape
        levels = _floor(batch.reshape(-1, 1, height, width) * 255 + 0.5)
        upper = _floor(levels / LEVELS)
        out = self.upper(upper) + self.lower(levels - upper * LEVELS)
        enlarged: Tensor = F.pixel_shuffle(out, self.scale)
        return enlarged.reshape(count, channels, height * self.scale, width * self.scale).to(batch.dtype)

    def tables(self) -> dict[str, Tensor]:
        """Tabulate each mapping at every combination of its four inputs: (16, 16, 16, 16, outputs)."""
        return {
            f"{name}.{key}": table
            for name, half in (("upper", self.upper), ("lower", self.lower))
            for key, table in half.tables().items()
        }


class _Half(nn.Module):
    """Tables in a row for half the bits of a pixel, which are divided by `divisor` first."""

    def __init__(self, scale: int, size: _Size, divisor: float) -> None:
        super().__init__()
        self.size, self.divisor = size, divisor
        self.lut122 = _make_mapping(1, (2, 2), 2, size.features)
        self.stages = _list_stages(size.parallel)
        for stage, outputs in zip(self.stages, (size.features, scale**2), strict=True):
            for name in stage:
                self.add_module(name, _make_mapping(2, _get_window(name), 3, outputs))

    def forward(self, levels: Tensor) -> Tensor:
        """Map (N, 1, H, W) of whole numbers up to 15 to (N, scale**2, H, W) in [-1, 1]."""
        # Rounding down amplifies tiny differences: in single precision, tiles would differ from the whole.
        exact = levels if self.training or levels.device.type == "mps" else levels.double()
        base = exact / self.divisor
        first, last = self.stages
        features = base + _apply_make_mapping(self.lut122, pad_reflect(base, (0, 1, 0, 1)))
        features = features + self._run_stage(first, features)
        return (base + self._run_stage(last, features)).clamp(-1, 1)

    def _run_stage(self, names: tuple[str, ...], features: Tensor) -> Tensor:
        """Average the mappings of a stage, each applied to four features in turn."""
        groups = features.chunk(self.size.features // 4, 1)
        results = [
            _apply_make_mapping(
                self.get_submodule(name), _mix_neighbours(groups[i % len(groups)], _get_window(name))
            )
            for i, name in enumerate(names)
        ]
        return torch.stack(results).mean(0)

    def tables(self) -> dict[str, Tensor]:
        """Tabulate the mappings of this half."""
        whole = torch.arange(LEVELS, dtype=torch.float64, device=next(self.parameters()).device)
        found = {"lut122": _tabulate(self.lut122, whole / self.divisor, (1, 2, 2))}
        for name in (name for stage in self.stages for name in stage):
            window = (2, *_get_window(name))
            found[name] = _tabulate(self.get_submodule(name), whole - LEVELS // 2, window)
        return found


def _list_stages(parallel: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the mappings of the second and third stage, vertical ones first."""
    numbers = ("", "_2")[:parallel]
    first, last = (
        tuple(name + number for name in names for number in numbers)
        for names in (("lut221", "lut212"), ("lut221_c12", "lut212_c34"))
    )
    return first, last


def _get_window(name: str) -> tuple[int, int]:
    return (2, 1) if name.startswith("lut221") else (1, 2)


def _make_mapping(inputs: int, window: tuple[int, int], hidden: int, outputs: int) -> nn.Sequential:
    """Return a network from a window of values to `outputs`, with `hidden` layers of 64."""
    widths = [64] * hidden
    layers: list[nn.Module] = [nn.Conv2d(inputs, 64, window)]
    for before, after in zip(widths, [*widths[1:], outputs], strict=True):
        layers += [nn.GELU(), nn.Conv2d(before, after, 1)]
    return nn.Sequential(*layers)


def _apply_make_mapping(mapping: nn.Module, batch: Tensor) -> Tensor:
    """Apply `mapping` in the precision of `batch`."""
    for layer in mapping.children():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            batch = F.conv2d(batch, layer.weight.to(batch.dtype), layer.bias.to(batch.dtype))
        else:
            batch = layer(batch)
    return batch


def _mix_neighbours(features: Tensor, window: tuple[int, int]) -> Tensor:
    """Compute two channels for every place between pixels, from two channels on either side.

    (N, 4, H, W) to whole numbers (N, 2, H + 1, W) for a vertical window, (N, 2, H, W + 1) otherwise.
    """
    after, before = ((0, 0, 0, 1), (0, 0, 1, 0)) if window[0] == 2 else ((0, 1, 0, 0), (1, 0, 0, 0))
    total = pad_reflect(features[:, :2], after) + pad_reflect(features[:, 2:], before)
    return _floor(total.clamp(-LEVELS / 2, _FURTHEST))


def _floor(batch: Tensor) -> Tensor:
    """Round down; gradients pass unchanged."""
    return batch.floor().detach() + (batch - batch.detach())


def _tabulate(mapping: nn.Module, values: Tensor, window: tuple[int, int, int]) -> Tensor:
    parts = list_combinations(values, 4).reshape(-1, *window).chunk(8)
    entries = torch.cat([_apply_make_mapping(mapping, part) for part in parts])
    return entries.reshape(*[LEVELS] * 4, -1).float()
