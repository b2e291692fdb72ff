"""Shared parts of image transformers: attention within windows, and SwinIR's layout around a deep body.

A `grid` is (N, H, W, C), the layout that linear layers and layer norms take; `windows` are (B, L, C), where
B counts the windows of all images, row by row, and L the pixels of one window.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs.blocks import (
    SHUFFLE_STEPS,
    MeanShift,
    ResidualBlock,
    conv,
    make_upsampler,
    pad_reflect,
    run_by_cells,
)
from srcli.errors import UsageError

Size = tuple[int, int]
QueriesKeysValues = tuple[Tensor, Tensor, Tensor]

# Added to the logits of pixels that must not see each other: hides them, and is finite in half precision.
MASKED_LOGIT = -100.0

# Numbers in the largest mask that is built at once: 64 MB.
LARGEST_MASK = 2**24

# The overlap of tiles that authors use: receptive fields of dozens of layers are too large for a true halo.
OVERLAP = 32


def to_grid(batch: Tensor) -> Tensor:
    """Move channels last: (N, C, H, W) to (N, H, W, C)."""
    return batch.permute(0, 2, 3, 1)


def to_batch(grid: Tensor) -> Tensor:
    """Move channels second: (N, H, W, C) to (N, C, H, W)."""
    return grid.permute(0, 3, 1, 2)


def split_windows(grid: Tensor, size: Size) -> Tensor:
    """Cut (N, H, W, C) into windows (B, L, C); H and W are multiples of `size`."""
    (high, wide), (_, height, width, channels) = size, grid.shape
    cut = grid.reshape(-1, height // high, high, width // wide, wide, channels).transpose(2, 3)
    return cut.reshape(-1, high * wide, channels)


def merge_windows(cut: Tensor, size: Size, height: int, width: int) -> Tensor:
    """Undo `split_windows`: (B, L, C) to (N, H, W, C)."""
    (high, wide), channels = size, cut.shape[2]
    parts = cut.reshape(-1, height // high, width // wide, high, wide, channels)
    return parts.transpose(2, 3).reshape(-1, height, width, channels)


def split_axis(tensor: Tensor, axis: int, *sizes: int) -> Tensor:
    """Replace an axis by axes of `sizes` and one more for the rest."""
    out: Tensor = tensor.unflatten(axis, (*sizes, -1))  # type: ignore[no-untyped-call]
    return out


def gather_dilated(grid: Tensor, down: int, across: int | None = None) -> Tensor:
    """Move pixels H / `down` and W / `across` apart next to each other; `across` defaults to `down`."""
    n, height, width, channels = grid.shape
    across = across or down
    split = grid.reshape(n, down, height // down, across, width // across, channels)
    return split.permute(0, 2, 1, 4, 3, 5).reshape(n, height, width, channels)


def scatter_dilated(grid: Tensor, down: int, across: int | None = None) -> Tensor:
    """Undo `gather_dilated`."""
    n, height, width, channels = grid.shape
    across = across or down
    split = grid.reshape(n, height // down, down, width // across, across, channels)
    return split.permute(0, 2, 1, 4, 3, 5).reshape(n, height, width, channels)


def relative_position_bias(table: Tensor, size: Size) -> Tensor:
    """Look up the bias of each pair of pixels in a window by their relative position: (heads, L, L).

    `table` has a row for each difference of rows and columns: (2h - 1) * (2w - 1) of them.
    """
    rows, columns = (_list_differences(side, table) for side in size)
    places = rows[:, None, :, None] * (2 * size[1] - 1) + columns[None, :, None, :]
    return table[places.flatten(2).flatten(0, 1)].permute(2, 0, 1)


def _list_differences(side: int, like: Tensor) -> Tensor:
    """Return the differences of all pairs of places on an axis, from 0 on: (side, side)."""
    place = torch.arange(side, device=like.device)
    return place[:, None] - place + side - 1


def make_shift_mask(height: int, width: int, size: Size, shift: Size, like: Tensor) -> Tensor:
    """Return which pairs of pixels only the cyclic shift brought into one window: (windows, L, L) of bool."""
    rows, columns = (_label_regions(*side, like) for side in zip((height, width), size, shift, strict=True))
    labels = split_windows((rows[:, None] * 3 + columns)[None, :, :, None], size)[..., 0]
    return labels[:, :, None] != labels[:, None]


def _label_regions(length: int, side: int, shift: int, like: Tensor) -> Tensor:
    """Label the places of an axis: 0, in the last window 1, and 2 for what the shift moved into it."""
    place = torch.arange(length, device=like.device)
    return (place >= length - side).int() + (place >= length - shift)


def attend(
    qkv: Iterable[Tensor],
    heads: int,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Compute softmax attention within windows: (B, L, C).

    `qkv`: queries (B, L, C), keys and values (B, M, C). `bias` (heads, L, M) is added to the logits. `scale`
    multiplies the products of queries and keys, by default one over the square root of a head's channels.
    `mask` (windows of an image, L, M) is true where a pixel must not be seen.
    """
    queries, keys, values = (split_axis(each, 2, heads).transpose(1, 2) for each in qkv)
    added = None if bias is None else bias[None].to(queries.dtype)
    if mask is None:
        out = F.scaled_dot_product_attention(queries, keys, values, added, scale=scale)
    else:
        added = queries.new_zeros(1, 1, 1, 1) if added is None else added
        out = _attend_masked((queries, keys, values), added, mask, scale)
    return out.transpose(1, 2).flatten(2)


def _attend_masked(qkv: QueriesKeysValues, bias: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    """Attend to as many windows at once as `LARGEST_MASK` allows, as each has its own mask."""
    mask = mask.repeat(len(qkv[0]) // len(mask), 1, 1)
    count = max(1, LARGEST_MASK // (bias.shape[1] * mask[0].numel()))
    parts = []
    for first in range(0, len(mask), count):
        queries, keys, values, hidden = (each[first : first + count] for each in (*qkv, mask))
        added = bias + hidden[:, None] * MASKED_LOGIT
        parts.append(F.scaled_dot_product_attention(queries, keys, values, added, scale=scale))
    return torch.cat(parts)


def attend_in_windows(
    qkv: Tensor, size: Size, heads: int, bias: Tensor | None, shift: Size, scale: float | None = None
) -> Tensor:
    """Attend within windows moved by `shift`: (N, H, W, 3C) of queries, keys, values to (N, H, W, C)."""
    moved, mask = shift_windows(qkv, size, shift)
    mixed = attend(split_windows(moved, size).chunk(3, 2), heads, bias, mask, scale)
    out = merge_windows(mixed, size, *qkv.shape[1:3])
    return torch.roll(out, shift, (1, 2)) if any(shift) else out


def shift_windows(grid: Tensor, size: Size, shift: Size) -> tuple[Tensor, Tensor | None]:
    """Roll the grid so that windows begin at `shift`; return it with its mask, None without a shift."""
    if not any(shift):
        return grid, None
    height, width = grid.shape[1:3]
    moved = torch.roll(grid, (-shift[0], -shift[1]), (1, 2))
    return moved, make_shift_mask(height, width, size, shift, grid)


class WindowAttention(nn.Module):
    """The Swin transformer's attention within windows, with a bias by relative position."""

    def __init__(self, features: int, size: Size, heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.relative_position_bias_table = make_bias_table((2 * size[0] - 1) * (2 * size[1] - 1), heads)
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)

    def forward(self, grid: Tensor, shift: Size = (0, 0)) -> Tensor:
        """Map (N, H, W, C) to the same shape; H and W are multiples of the window, `shift` moves windows."""
        bias = relative_position_bias(self.relative_position_bias_table, self.size)
        out: Tensor = self.proj(attend_in_windows(self.qkv(grid), self.size, self.heads, bias, shift))
        return out


def make_bias_table(rows: int, heads: int) -> nn.Parameter:
    """Return a trainable table with a number for each head and each relative position: (rows, heads)."""
    table = torch.empty(rows, heads)
    return nn.Parameter(table if table.is_meta else nn.init.trunc_normal_(table, std=0.02))


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, features)

    def forward(self, grid: Tensor) -> Tensor:
        """Map (..., C) to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(grid)))
        return out


def init_transformer(layer: nn.Module) -> None:
    """Initialise a linear layer as the Swin transformer does; for `Module.apply`."""
    if isinstance(layer, nn.Linear) and not layer.weight.is_meta:  # on meta it would only take time
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def make_bottleneck(features: int) -> nn.Sequential:
    """Return three convolutions that replace one, with a quarter of the features between them."""
    few = features // 4
    return nn.Sequential(
        conv(features, few),
        nn.LeakyReLU(0.2),
        conv(few, few, 1),
        nn.LeakyReLU(0.2),
        conv(few, features),
    )


def make_end_conv(features: int, narrow: bool) -> nn.Module:
    """Return the end of a group or of the body: one convolution or, if `narrow`, a bottleneck of three."""
    return make_bottleneck(features) if narrow else conv(features, features)


class TransformerBody(nn.Module):
    """SwinIR's feature extractor: a convolution, and a deep body that is added to it.

    The body is `embed`, `layers` and `norm`. Sides are padded to a multiple of `multiple`, which is also the
    alignment of tiles. `narrow`: see `make_end_conv`.
    """

    patch_embed: nn.ModuleDict
    layers: nn.ModuleList
    norm: nn.LayerNorm

    def __init__(self, features: int, multiple: int, narrow: bool = False, channels: int = 3) -> None:
        super().__init__()
        self.halo, self.alignment, self.multiple = OVERLAP, multiple, multiple
        self.conv_first = conv(channels, features)
        self.conv_after_body = make_end_conv(features, narrow)

    def embed(self, grid: Tensor) -> Tensor:
        """Prepare (N, H, W, C) for the first layer."""
        out: Tensor = self.patch_embed["norm"](grid)
        return out

    def run_layers(self, grid: Tensor) -> Tensor:
        """Run the deep body: (N, H, W, C) to the same shape."""
        grid = self.embed(grid)
        for layer in self.layers:
            grid = layer(grid)
        out: Tensor = self.norm(grid)
        return out

    def extract_features(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) to features of the padded image."""
        shallow: Tensor = self.conv_first(pad_to_multiple(batch, self.multiple))
        out: Tensor = shallow + self.conv_after_body(to_batch(self.run_layers(to_grid(shallow))))
        return out


class TransformerNetwork(TransformerBody):
    """SwinIR's layout: the features of a `TransformerBody`, upsampled to the output image.

    `end`: pixel shuffles in "steps", one pixel shuffle ("direct"), convolutions after nearest-neighbour
    upsampling ("nearest"), or one convolution that is added to the input ("residual"), for scale 1 only.
    """

    WIDTH = 64

    def __init__(
        self,
        scale: int,
        features: int,
        multiple: int,
        end: str,
        narrow: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__(features, multiple, narrow, channels)
        self.channels, self.scale, self.end = channels, scale, end
        self.works_in = "windows"
        # The authors' grey networks subtract no mean.
        self.shift = MeanShift(1.0, 1.0 if channels == 3 else 0.0, channels=channels)
        if end == "residual":
            if scale != 1:
                raise UsageError(f"a network for x{scale} cannot end with a residual", "only x1 can")
            self.conv_last = conv(features, channels)
            return
        if end == "direct":
            self.upsample = nn.Sequential(conv(features, channels * scale**2), nn.PixelShuffle(scale))
            return
        self.conv_before_upsample = nn.Sequential(conv(features, self.WIDTH), nn.LeakyReLU())
        self.conv_last = conv(self.WIDTH, channels)
        if end == "steps":
            self.upsample = make_upsampler(scale, self.WIDTH)
            return
        for number in range(1, len(SHUFFLE_STEPS[scale]) + 1):
            self.add_module(f"conv_up{number}", conv(self.WIDTH, self.WIDTH))
        self.conv_hr = conv(self.WIDTH, self.WIDTH)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, channels, H, W) in [0, 1] to (N, channels, H*scale, W*scale)."""
        height, width = batch.shape[2:]
        shifted = self.shift.enter(batch)
        out = self._upsample(self.extract_features(shifted))
        if self.end == "residual":
            out = shifted + out[:, :, :height, :width]
        out = self.shift.leave(out)
        return out[:, :, : height * self.scale, : width * self.scale]

    def _upsample(self, batch: Tensor) -> Tensor:
        if self.end == "direct":
            large: Tensor = self.upsample(batch)
            return large
        if self.end == "residual":
            difference: Tensor = self.conv_last(batch)
            return difference
        batch = self.conv_before_upsample(batch)
        last: Tensor
        if self.end == "steps":
            last = self.conv_last(self.upsample(batch))
            return last
        for number, step in enumerate(SHUFFLE_STEPS[self.scale], 1):
            large = F.interpolate(batch, scale_factor=step, mode="nearest")
            batch = F.leaky_relu(self.get_submodule(f"conv_up{number}")(large), 0.2)
        last = self.conv_last(F.leaky_relu(self.conv_hr(batch), 0.2))
        return last


def describe_end(state: dict[str, Any]) -> dict[str, Any]:
    """Return what tensors show of a `TransformerNetwork`: its features, channels and end."""
    features, channels = state["conv_first.weight"].shape[:2]
    if "conv_before_upsample.0.weight" not in state:
        end = "residual" if "conv_last.weight" in state else "direct"
    else:
        end = "nearest" if "conv_up1.weight" in state else "steps"
    return {"features": features, "channels": channels, "end": end}


def count_window(table: Tensor) -> int:
    """Return the side of the window that a table of relative positions is for, (2 * side - 1)^2 rows."""
    return (math.isqrt(table.shape[0]) + 1) // 2


def pad_to_multiple(batch: Tensor, multiple: int) -> Tensor:
    """Pad the right and lower edges by reflection until the sides are multiples."""
    height, width = batch.shape[2:]
    return pad_reflect(batch, (0, -width % multiple, 0, -height % multiple))


def drop_keys(state: dict[str, Any], *endings: str) -> dict[str, Any]:
    """Drop tensors whose names have one of the endings: files carry them, but the network computes them."""
    return {key: value for key, value in state.items() if not key.endswith(endings)}


class InterleavedAttention(nn.Module):
    """EDSR with non-local attention before its residual blocks and after every eighth of them.

    `cells`: side of the cells that are restored one by one, and how many pixels more each sees on every side.
    """

    EVERY = 8

    def __init__(
        self,
        scale: int,
        blocks: int,
        features: int,
        res_scale: float,
        cells: Size,
        attention: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        self.alignment, self.overlap = cells
        self.works_in, self.halo = "cells", self.alignment - 1 + self.overlap
        self.shift = MeanShift(1.0, 1.0)
        self.head = nn.Sequential(conv(3, features))
        body = [attention()]
        for number in range(1, blocks + 1):
            body.append(ResidualBlock(features, res_scale))
            body += [attention()] if number % self.EVERY == 0 else []
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(make_upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return run_by_cells(batch, self.alignment, self.overlap, self.scale, self._restore)

    def _restore(self, batch: Tensor) -> Tensor:
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(shallow + self.body(shallow)))
