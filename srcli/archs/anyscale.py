"""Shared parts of networks of any scale: encoders, positions of output pixels, output in bands."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import edsr, rdn, swinir
from srcli.errors import UsageError
from srcli.scales import Axis, Window, make_full_window

# Output pixels computed at once: bounds the memory that an output of any size takes.
PIXELS_PER_BAND = 2**14


def build_encoder(name: str, blocks: int, features: int) -> "edsr.Encoder | rdn.Encoder | swinir.Encoder":
    """Build EDSR, RDN or SwinIR up to its last features; `blocks`: blocks or groups, 0 for the paper's.

    Raises `UsageError` for other names.
    """
    if name == "edsr":
        return edsr.Encoder(blocks or 16, features)
    if name == "rdn":
        return rdn.Encoder(blocks or 16, features=features)
    if name == "swinir":
        return swinir.Encoder(blocks or 6, features)
    raise UsageError(f"no encoder called '{name}'", "there are: edsr, rdn, swinir")


class PixelOffsets(NamedTuple):
    """For each output pixel of an axis, an input pixel of the tile and the distance to it.

    `offset`: from the input pixel's centre to the output pixel's, in input pixels.
    """

    pixel: Tensor
    offset: Tensor


def _list_outputs(axis: Axis, like: Tensor) -> Tensor:
    return torch.arange(axis.first, axis.last, device=like.device)


def _divide(part: Tensor, of: int, like: Tensor) -> Tensor:
    """Divide integers, in single precision even if `like` is in half."""
    return part.to(torch.promote_types(like.dtype, torch.float32)) / of


def find_neighbours(axis: Axis, length: int, like: Tensor) -> tuple[PixelOffsets, PixelOffsets]:
    """Find the input pixels before (or at) and after the centre of each output pixel, in exact integers.

    `length`: of the tile; beyond it, which is beyond the image, its first or last pixel is taken.
    """
    doubled = 2 * axis.outputs
    centre = (2 * _list_outputs(axis, like) + 1) * axis.inputs - axis.outputs
    before = centre.div(doubled, rounding_mode="floor")
    beyond = _divide(centre - before * doubled, doubled, like)
    before = before - axis.start
    found = [(before + step).clamp(0, length - 1) for step in (0, 1)]
    near, far = (PixelOffsets(index, beyond + (before - index)) for index in found)
    return near, far


def find_corner_pixels(axis: Axis, like: Tensor) -> PixelOffsets:
    """Find the input pixel that holds each output pixel's left edge, and the distance of both left edges."""
    corner = _list_outputs(axis, like) * axis.inputs
    index = corner.div(axis.outputs, rounding_mode="floor")
    beyond = _divide(corner - index * axis.outputs, axis.outputs, like)
    return PixelOffsets(index - axis.start, beyond)


def find_centre_pixels(axis: Axis, like: Tensor) -> PixelOffsets:
    """Find the input pixel that holds each output pixel's centre."""
    centre = (2 * _list_outputs(axis, like) + 1) * axis.inputs
    index = centre.div(2 * axis.outputs, rounding_mode="floor")
    beyond = _divide(centre - index * 2 * axis.outputs, 2 * axis.outputs, like)
    return PixelOffsets(index - axis.start, beyond - 0.5)


def gather_pixels(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Take rows and columns of (N, H, W, C): (N, rows, columns, C)."""
    return planes.index_select(1, rows).index_select(2, columns)


def blend_neighbours(
    make: Callable[[PixelOffsets, PixelOffsets], Tensor],
    rows: tuple[PixelOffsets, PixelOffsets],
    columns: tuple[PixelOffsets, PixelOffsets],
) -> Tensor:
    """Blend what `make` computes (N, h, w, C) from each of the four neighbours: LIIF's local ensemble.

    The weight of a neighbour is the area between the output pixel and the opposite neighbour.
    """
    total: Tensor | None = None
    for y, vertical in zip(rows, _weigh_pair(rows), strict=True):
        for x, horizontal in zip(columns, _weigh_pair(columns), strict=True):
            part = make(y, x) * (vertical[:, None] * horizontal)[..., None]
            total = part if total is None else total + part
    assert total is not None
    return total


def find_window_neighbours(
    window: Window, planes: Tensor
) -> tuple[tuple[PixelOffsets, PixelOffsets], tuple[PixelOffsets, PixelOffsets]]:
    """Find the neighbours of the window's rows and of its columns in (N, H, W, C)."""
    rows, columns = (
        find_neighbours(axis, length, planes) for axis, length in zip(window, planes.shape[1:3], strict=True)
    )
    return rows, columns


def interpolate_bilinear(planes: Tensor, window: Window) -> Tensor:
    """Interpolate (N, H, W, C) bilinearly at the pixels of the window: (N, C, h, w)."""

    def gather(y: PixelOffsets, x: PixelOffsets) -> Tensor:
        return gather_pixels(planes, y.pixel, x.pixel)

    return blend_neighbours(gather, *find_window_neighbours(window, planes)).movedim(3, 1)


def _weigh_pair(pair: tuple[PixelOffsets, PixelOffsets]) -> tuple[Tensor, Tensor]:
    """Return the weights of the pixels before and after; half each if both are the border pixel."""
    before, after = (near.offset.abs() + 1e-9 for near in pair)
    total = before + after
    return after / total, before / total


def run_in_bands(make: Callable[[Window], Tensor], window: Window) -> Tensor:
    """Compute the window (N, C, h, w) a few rows at a time."""
    y, x = window
    step = max(1, PIXELS_PER_BAND // max(1, x.last - x.first))
    bands = [
        Axis(y.inputs, y.outputs, y.start, first, min(first + step, y.last))
        for first in range(y.first, y.last, step)
    ]
    return torch.cat([make((band, x)) for band in bands], 2)


class ArbitraryScaleNetwork(nn.Module):
    """A network with output of any size: `window` selects a part of it, by default all of it at `scale`."""

    any_scale = True

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale

    def window(self, batch: Tensor) -> Window:
        """Return the window of the whole output at the scale that the network was built for."""
        height, width = batch.shape[2:]
        return make_full_window(height, width, (height * self.scale, width * self.scale))


class Mlp(nn.Module):
    """Linear layers with ReLU between them; keys as in LIIF's."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    @property
    def first(self) -> nn.Linear:
        """The first layer: what it computes from shared inputs can be computed once for many pixels."""
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def apply_rest(self, values: Tensor) -> Tensor:
        """Run all layers after the first on its output (..., hidden)."""
        out: Tensor = self.layers[1:](values)
        return out

    def forward(self, values: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        out: Tensor = self.layers(values)
        return out


class MetaUpscale(nn.Module):
    """Meta-SR's upscaling: a 3x3 filter to RGB for each output pixel, computed from its position and size.

    The last layer is linear, so its kernels are applied once to all input pixels, and the results are
    weighted by the `hidden` values; the filters themselves are never stored.
    """

    def __init__(self, features: int, hidden: int, sizes: int) -> None:
        super().__init__()
        self.features = features
        inputs = sizes + 2
        self.meta_block = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 27 * features)
        )

    def forward(
        self,
        features: Tensor,
        y: PixelOffsets,
        x: PixelOffsets,
        sizes: Sequence[float],
        rows: tuple[int, int],
    ) -> Tensor:
        """Map (N, C, H+2, W+2), with a border of one pixel, to (N, 3, h, w), the output pixels at `y`, `x`.

        `rows`: the first and the last row in `y`; `sizes` of an output pixel, in input pixels.
        """
        parts = F.conv2d(features[:, :, rows[0] : rows[1] + 3], self._kernels()).movedim(1, 3)
        near = gather_pixels(parts, y.pixel - rows[0], x.pixel)
        near = near.view(*near.shape[:3], 3, -1)
        return torch.einsum("yxk,nyxck->ncyx", self._values(y, x, features.new_tensor(sizes)), near)

    def _values(self, y: PixelOffsets, x: PixelOffsets, sizes: Tensor) -> Tensor:
        """Return the hidden values of all output pixels, and 1 for the bias: (h, w, hidden + 1)."""
        first = self.meta_block[0]
        assert isinstance(first, nn.Linear)
        *_, down, across = first.weight.unbind(1)
        place = y.offset[:, None, None] * down + x.offset[:, None] * across
        fixed = first.weight[:, :-2] @ sizes + first.bias
        return F.pad(F.relu(place + fixed), (0, 1), value=1.0)

    def _kernels(self) -> Tensor:
        """Return the kernels of all hidden values and the bias, per colour: (3 * (hidden + 1), C, 3, 3)."""
        last = self.meta_block[2]
        assert isinstance(last, nn.Linear)
        kernels = torch.cat((last.weight.T, last.bias[None])).view(-1, self.features, 3, 3, 3)
        return kernels.movedim(4, 0).flatten(0, 1)


def drop_unused_keys(state: dict[str, Any]) -> dict[str, Any]:
    """Drop EDSR's mean shift, which is not used, and SwinIR's masks and indices."""
    used = {key: value for key, value in state.items() if not key.startswith(_SHIFTS)}
    return swinir.rename(used)


_SHIFTS = ("encoder.sub_mean.", "encoder.add_mean.")
