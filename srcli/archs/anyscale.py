"""What networks of any scale share: encoders, where output pixels lie on the input, output in portions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import edsr, rdn, swinir
from srcli.errors import UsageError
from srcli.scales import Axis, Window, make_full_window

# Output pixels that are made at once: bounds the memory of an output of any size.
PORTION = 2**14


def encoder_of(name: str, blocks: int, features: int) -> "edsr.Encoder | rdn.Encoder | swinir.Encoder":
    """EDSR, RDN or SwinIR up to its last features, of `blocks` blocks, or groups; 0: as many as the paper's.

    Raises `UsageError` for other names.
    """
    if name == "edsr":
        return edsr.Encoder(blocks or 16, features)
    if name == "rdn":
        return rdn.Encoder(blocks or 16, features=features)
    if name == "swinir":
        return swinir.Encoder(blocks or 6, features)
    raise UsageError(f"no encoder called '{name}'", "there are: edsr, rdn, swinir")


class Near(NamedTuple):
    """For each output pixel of an axis one input pixel: its number in the tile, and how far it is from it.

    `offset` in input pixels, centre from centre, positive where the output pixel comes after.
    """

    pixel: Tensor
    offset: Tensor


def _numbers(axis: Axis, like: Tensor) -> Tensor:
    return torch.arange(axis.first, axis.last, device=like.device)


def _share(part: Tensor, of: int, like: Tensor) -> Tensor:
    """Part / of, whole numbers, in single precision also where the network is in half."""
    return part.to(torch.promote_types(like.dtype, torch.float32)) / of


def neighbours(axis: Axis, length: int, like: Tensor) -> tuple[Near, Near]:
    """The input pixels before (or at) and after each output pixel's centre, by whole numbers.

    `length` of the tile; outside it, which is outside the image, the pixel at its end takes their place.
    """
    doubled = 2 * axis.outputs
    centre = (2 * _numbers(axis, like) + 1) * axis.inputs - axis.outputs
    before = centre.div(doubled, rounding_mode="floor")
    beyond = _share(centre - before * doubled, doubled, like)
    before = before - axis.start
    found = [(before + step).clamp(0, length - 1) for step in (0, 1)]
    near, far = (Near(index, beyond + (before - index)) for index in found)
    return near, far


def corners(axis: Axis, like: Tensor) -> Near:
    """The input pixel in which each output pixel's left corner lies, and how far that is from its own."""
    corner = _numbers(axis, like) * axis.inputs
    index = corner.div(axis.outputs, rounding_mode="floor")
    beyond = _share(corner - index * axis.outputs, axis.outputs, like)
    return Near(index - axis.start, beyond)


def holders(axis: Axis, like: Tensor) -> Near:
    """The input pixel in which each output pixel's centre lies."""
    centre = (2 * _numbers(axis, like) + 1) * axis.inputs
    index = centre.div(2 * axis.outputs, rounding_mode="floor")
    beyond = _share(centre - index * 2 * axis.outputs, 2 * axis.outputs, like)
    return Near(index - axis.start, beyond - 0.5)


def taken(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, H, W, C) at some rows and columns, each of any number: (N, rows, columns, C)."""
    return planes.index_select(1, rows).index_select(2, columns)


def blended(
    made: Callable[[Near, Near], Tensor], rows: tuple[Near, Near], columns: tuple[Near, Near]
) -> Tensor:
    """What is `made` (N, h, w, C) of each of the four input pixels around, the nearer one weighing more.

    LIIF's local ensemble: the weight of each is the area between the output pixel and the opposite one.
    """
    total: Tensor | None = None
    for y, vertical in zip(rows, _shares(rows), strict=True):
        for x, horizontal in zip(columns, _shares(columns), strict=True):
            part = made(y, x) * (vertical[:, None] * horizontal)[..., None]
            total = part if total is None else total + part
    assert total is not None
    return total


def around(window: Window, planes: Tensor) -> tuple[tuple[Near, Near], tuple[Near, Near]]:
    """The neighbours of the window's rows and of its columns in (N, H, W, C)."""
    rows, columns = (
        neighbours(axis, length, planes) for axis, length in zip(window, planes.shape[1:3], strict=True)
    )
    return rows, columns


def bilinear(planes: Tensor, window: Window) -> Tensor:
    """(N, H, W, C) to (N, C, h, w) of the window, enlarged by bilinear interpolation."""

    def itself(y: Near, x: Near) -> Tensor:
        return taken(planes, y.pixel, x.pixel)

    return blended(itself, *around(window, planes)).movedim(3, 1)


def _shares(pair: tuple[Near, Near]) -> tuple[Tensor, Tensor]:
    """Of the pixel before and of the one after: half each where both are the one at the border."""
    before, after = (near.offset.abs() + 1e-9 for near in pair)
    total = before + after
    return after / total, before / total


def in_portions(make: Callable[[Window], Tensor], window: Window) -> Tensor:
    """What is made (N, C, h, w) of the window, a few of its rows at a time."""
    y, x = window
    step = max(1, PORTION // max(1, x.last - x.first))
    bands = [
        Axis(y.inputs, y.outputs, y.start, first, min(first + step, y.last))
        for first in range(y.first, y.last, step)
    ]
    return torch.cat([make((band, x)) for band in bands], 2)


class Continuous(nn.Module):
    """A network whose output has any size: `window` says which part of it, by default all, at `scale`."""

    any_scale = True

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.channels = 3
        self.scale = scale

    def window(self, batch: Tensor) -> Window:
        """All of the output at the scale that it was built for."""
        height, width = batch.shape[2:]
        return make_full_window(height, width, (height * self.scale, width * self.scale))


class Mlp(nn.Module):
    """Linear layers with rectifiers between them; keys as in LIIF's."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    @property
    def first(self) -> nn.Linear:
        """The first layer, whose share of what is the same for many can be made once."""
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def after_first(self, values: Tensor) -> Tensor:
        """What `forward` gives where `values` (..., hidden) are what the first layer makes."""
        out: Tensor = self.layers[1:](values)
        return out

    def forward(self, values: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        out: Tensor = self.layers(values)
        return out


class Filters(nn.Module):
    """A 3x3 filter to three colours for each output pixel, made of its place and its size: Meta-SR's.

    The last layer is linear: instead of filters, what each of the `hidden` values stands for is applied, once
    for each input pixel, and the results are weighed by the values.
    """

    def __init__(self, features: int, hidden: int, sizes: int) -> None:
        super().__init__()
        self.features = features
        inputs = sizes + 2
        self.meta_block = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 27 * features)
        )

    def forward(
        self, features: Tensor, y: Near, x: Near, sizes: Sequence[float], rows: tuple[int, int]
    ) -> Tensor:
        """(N, C, H+2, W+2), with a border of one pixel, to (N, 3, h, w) of the output pixels at `y` and `x`.

        `rows`: the first and the last that is in `y`; `sizes` of an output pixel, in input pixels.
        """
        parts = F.conv2d(features[:, :, rows[0] : rows[1] + 3], self._kernels()).movedim(1, 3)
        near = taken(parts, y.pixel - rows[0], x.pixel)
        near = near.view(*near.shape[:3], 3, -1)
        return torch.einsum("yxk,nyxck->ncyx", self._values(y, x, features.new_tensor(sizes)), near)

    def _values(self, y: Near, x: Near, sizes: Tensor) -> Tensor:
        """(h, w, hidden + 1) of what makes the filters; the last, for its bias, is 1."""
        first = self.meta_block[0]
        assert isinstance(first, nn.Linear)
        *_, down, across = first.weight.unbind(1)
        place = y.offset[:, None, None] * down + x.offset[:, None] * across
        fixed = first.weight[:, :-2] @ sizes + first.bias
        return F.pad(F.relu(place + fixed), (0, 1), value=1.0)

    def _kernels(self) -> Tensor:
        """(3 * (hidden + 1), C, 3, 3): what each value, and the bias, adds to the filters of each colour."""
        last = self.meta_block[2]
        assert isinstance(last, nn.Linear)
        kernels = torch.cat((last.weight.T, last.bias[None])).view(-1, self.features, 3, 3, 3)
        return kernels.movedim(4, 0).flatten(0, 1)


def without_unused(state: dict[str, Any]) -> dict[str, Any]:
    """The tensors but EDSR's mean shift, which is not used, and SwinIR's masks and indices."""
    used = {key: value for key, value in state.items() if not key.startswith(_SHIFTS)}
    return swinir.rename(used)


_SHIFTS = ("encoder.sub_mean.", "encoder.add_mean.")
