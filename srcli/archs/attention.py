"""What transformers for images share: attention within windows, and SwinIR's frame around a deep body.

A `grid` is (N, H, W, C), the layout that linear layers and layer norms want; `windows` are (B, L, C), where B
counts the windows of all images, row by row, and L the pixels of one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs.blocks import STEPS, MeanShift, ResidualBlock, by_cells, conv, mirrored, upsampler

Size = tuple[int, int]
Triple = tuple[Tensor, Tensor, Tensor]

# What is taken from the product of pixels that must not see each other: as good as all, and finite in half.
APART = -100.0

# Numbers in a mask that is made at once: 64 MB.
LARGEST_MASK = 2**24

# An overlap of tiles: the authors' own, as receptive fields of dozens of layers are too large to be honoured.
OVERLAP = 32


def to_grid(batch: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W, C)."""
    return batch.permute(0, 2, 3, 1)


def to_batch(grid: Tensor) -> Tensor:
    """(N, H, W, C) to (N, C, H, W)."""
    return grid.permute(0, 3, 1, 2)


def windows(grid: Tensor, size: Size) -> Tensor:
    """(N, H, W, C) cut into (B, L, C); H and W are multiples of `size`."""
    (high, wide), (_, height, width, channels) = size, grid.shape
    cut = grid.reshape(-1, height // high, high, width // wide, wide, channels).transpose(2, 3)
    return cut.reshape(-1, high * wide, channels)


def joined(cut: Tensor, size: Size, height: int, width: int) -> Tensor:
    """(B, L, C) put together again: (N, H, W, C)."""
    (high, wide), channels = size, cut.shape[2]
    parts = cut.reshape(-1, height // high, width // wide, high, wide, channels)
    return parts.transpose(2, 3).reshape(-1, height, width, channels)


def divided(tensor: Tensor, axis: int, *sizes: int) -> Tensor:
    """The tensor with an axis in the place of which there are those of `sizes`, and one of what is left."""
    out: Tensor = tensor.unflatten(axis, (*sizes, -1))  # type: ignore[no-untyped-call]
    return out


def gathered(grid: Tensor, down: int, across: int | None = None) -> Tensor:
    """(N, H, W, C) with pixels that lie H / `down` and W / `across` apart brought side by side."""
    n, height, width, channels = grid.shape
    across = across or down
    split = grid.reshape(n, down, height // down, across, width // across, channels)
    return split.permute(0, 2, 1, 4, 3, 5).reshape(n, height, width, channels)


def scattered(grid: Tensor, down: int, across: int | None = None) -> Tensor:
    """`gathered` undone."""
    n, height, width, channels = grid.shape
    across = across or down
    split = grid.reshape(n, height // down, down, width // across, across, channels)
    return split.permute(0, 2, 1, 4, 3, 5).reshape(n, height, width, channels)


def relative_bias(table: Tensor, size: Size) -> Tensor:
    """What `table` has for how the pixels of a window lie to each other: (heads, L, L).

    Its rows are for all differences that own and other row can have, and of columns: (2h - 1) * (2w - 1).
    """
    rows, columns = (_differences(side, table) for side in size)
    places = rows[:, None, :, None] * (2 * size[1] - 1) + columns[None, :, None, :]
    return table[places.flatten(2).flatten(0, 1)].permute(2, 0, 1)


def _differences(side: int, like: Tensor) -> Tensor:
    """(side, side) of own less other place, counted from 0."""
    place = torch.arange(side, device=like.device)
    return place[:, None] - place + side - 1


def separated(height: int, width: int, size: Size, shift: Size, like: Tensor) -> Tensor:
    """Which pixels only a cyclic shift brought together in a window: (windows, L, L), true where so."""
    rows, columns = (_regions(*side, like) for side in zip((height, width), size, shift, strict=True))
    labels = windows((rows[:, None] * 3 + columns)[None, :, :, None], size)[..., 0]
    return labels[:, :, None] != labels[:, None]


def _regions(length: int, side: int, shift: int, like: Tensor) -> Tensor:
    """0, but 1 in what the last window keeps and 2 in what came round to it."""
    place = torch.arange(length, device=like.device)
    return (place >= length - side).int() + (place >= length - shift)


def attended(
    asked: Iterable[Tensor],
    heads: int,
    bias: Tensor | None = None,
    apart: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """For each query of a window the mean of its values, by the softmax of products with the keys.

    `asked`: queries (B, L, C), and keys and values (B, M, C); `bias` (heads, L, M) is added to the products,
    which are divided by the root of a head's channels, or times `scale`; `apart` (windows of an image, L, M)
    is true where a pixel must not be seen.
    """
    queries, keys, values = (divided(each, 2, heads).transpose(1, 2) for each in asked)
    mask = None if bias is None else bias[None].to(queries.dtype)
    if apart is None:
        out = F.scaled_dot_product_attention(queries, keys, values, mask, scale=scale)
    else:
        mask = queries.new_zeros(1, 1, 1, 1) if mask is None else mask
        out = _attended_apart((queries, keys, values), mask, apart, scale)
    return out.transpose(1, 2).flatten(2)


def _attended_apart(asked: Triple, bias: Tensor, apart: Tensor, scale: float | None) -> Tensor:
    """As many windows at once as their masks, which differ, leave in reasonable memory."""
    apart = apart.repeat(len(asked[0]) // len(apart), 1, 1)
    count = max(1, LARGEST_MASK // (bias.shape[1] * apart[0].numel()))
    parts = []
    for first in range(0, len(apart), count):
        queries, keys, values, hidden = (each[first : first + count] for each in (*asked, apart))
        mask = bias + hidden[:, None] * APART
        parts.append(F.scaled_dot_product_attention(queries, keys, values, mask, scale=scale))
    return torch.cat(parts)


def in_windows(
    asked: Tensor, size: Size, heads: int, bias: Tensor | None, shift: Size, scale: float | None = None
) -> Tensor:
    """(N, H, W, 3C) of queries, keys and values to (N, H, W, C); the first window begins at `shift`."""
    moved, apart = shifted(asked, size, shift)
    mixed = attended(windows(moved, size).chunk(3, 2), heads, bias, apart, scale)
    out = joined(mixed, size, *asked.shape[1:3])
    return torch.roll(out, shift, (1, 2)) if any(shift) else out


def shifted(grid: Tensor, size: Size, shift: Size) -> tuple[Tensor, Tensor | None]:
    """The grid turned round so that windows begin at `shift`, and which of their pixels are `separated`."""
    if not any(shift):
        return grid, None
    height, width = grid.shape[1:3]
    moved = torch.roll(grid, (-shift[0], -shift[1]), (1, 2))
    return moved, separated(height, width, size, shift, grid)


class WindowAttention(nn.Module):
    """Pixels mixed within windows, by likeness and by how they lie to each other: the Swin transformer's."""

    def __init__(self, features: int, size: Size, heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.relative_position_bias_table = bias_table((2 * size[0] - 1) * (2 * size[1] - 1), heads)
        self.qkv = nn.Linear(features, 3 * features)
        self.proj = nn.Linear(features, features)

    def forward(self, grid: Tensor, shift: Size = (0, 0)) -> Tensor:
        """(N, H, W, C) to the same shape, multiples of the window; `shift`: where the first window begins."""
        bias = relative_bias(self.relative_position_bias_table, self.size)
        out: Tensor = self.proj(in_windows(self.qkv(grid), self.size, self.heads, bias, shift))
        return out


def bias_table(rows: int, heads: int) -> nn.Parameter:
    """A learned number for each head and each way in which two pixels can lie to each other."""
    table = torch.empty(rows, heads)
    return nn.Parameter(table if table.is_meta else nn.init.trunc_normal_(table, std=0.02))


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, features)

    def forward(self, grid: Tensor) -> Tensor:
        """(..., C) to the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(grid)))
        return out


def transformer_initialised(layer: nn.Module) -> None:
    """Linear layers as the Swin transformer begins with them; for `Module.apply`."""
    if isinstance(layer, nn.Linear) and not layer.weight.is_meta:  # which would only take time
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def bottleneck(features: int) -> nn.Sequential:
    """Three convolutions in the place of one, with a quarter of the features between them."""
    few = features // 4
    return nn.Sequential(
        conv(features, few),
        nn.LeakyReLU(0.2),
        conv(few, few, 1),
        nn.LeakyReLU(0.2),
        conv(few, features),
    )


def closing(features: int, narrow: bool) -> nn.Module:
    """What ends a group or the body: one convolution, or a `bottleneck`."""
    return bottleneck(features) if narrow else conv(features, features)


class Deep(nn.Module):
    """SwinIR's features: a convolution, and a deep body added to it.

    The body is `layers` on what `entered` makes, then `norm`. `multiple`: what sides are reflected to, and
    tiles begin at. `narrow`: see `closing`.
    """

    patch_embed: nn.ModuleDict
    layers: nn.ModuleList
    norm: nn.LayerNorm

    def __init__(self, features: int, multiple: int, narrow: bool = False) -> None:
        super().__init__()
        self.halo, self.alignment, self.multiple = OVERLAP, multiple, multiple
        self.conv_first = conv(3, features)
        self.conv_after_body = closing(features, narrow)

    def entered(self, grid: Tensor) -> Tensor:
        """What the first layer gets of (N, H, W, C)."""
        out: Tensor = self.patch_embed["norm"](grid)
        return out

    def deep(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) to the same shape."""
        grid = self.entered(grid)
        for layer in self.layers:
            grid = layer(grid)
        out: Tensor = self.norm(grid)
        return out

    def extracted(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) to features of the image, reflected so far that its sides are multiples."""
        shallow: Tensor = self.conv_first(reflected(batch, self.multiple))
        out: Tensor = shallow + self.conv_after_body(to_batch(self.deep(to_grid(shallow))))
        return out


class Framed(Deep):
    """SwinIR's frame: `Deep` features and the enlarged image.

    `end`: pixel shuffles in "steps", one pixel shuffle ("direct"), or convolutions on features repeated to
    the next size ("nearest").
    """

    WIDTH = 64

    def __init__(self, scale: int, features: int, multiple: int, end: str, narrow: bool = False) -> None:
        super().__init__(features, multiple, narrow)
        self.channels, self.scale, self.end = 3, scale, end
        self.works_in = "windows"
        self.shift = MeanShift(1.0, 1.0)
        if end == "direct":
            self.upsample = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))
            return
        self.conv_before_upsample = nn.Sequential(conv(features, self.WIDTH), nn.LeakyReLU())
        self.conv_last = conv(self.WIDTH, 3)
        if end == "steps":
            self.upsample = upsampler(scale, self.WIDTH)
            return
        for number in range(1, len(STEPS[scale]) + 1):
            self.add_module(f"conv_up{number}", conv(self.WIDTH, self.WIDTH))
        self.conv_hr = conv(self.WIDTH, self.WIDTH)

    def forward(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        height, width = batch.shape[2:]
        out = self.shift.leave(self._enlarged(self.extracted(self.shift.enter(batch))))
        return out[:, :, : height * self.scale, : width * self.scale]

    def _enlarged(self, batch: Tensor) -> Tensor:
        if self.end == "direct":
            large: Tensor = self.upsample(batch)
            return large
        batch = self.conv_before_upsample(batch)
        last: Tensor
        if self.end == "steps":
            last = self.conv_last(self.upsample(batch))
            return last
        for number, step in enumerate(STEPS[self.scale], 1):
            large = F.interpolate(batch, scale_factor=step, mode="nearest")
            batch = F.leaky_relu(self.get_submodule(f"conv_up{number}")(large), 0.2)
        last = self.conv_last(F.leaky_relu(self.conv_hr(batch), 0.2))
        return last


def reflected(batch: Tensor, multiple: int) -> Tensor:
    """The batch with as much of its mirror image at its right and lower edge as makes sides multiples."""
    height, width = batch.shape[2:]
    return mirrored(batch, (0, -width % multiple, 0, -height % multiple))


def without(state: dict[str, Any], *endings: str) -> dict[str, Any]:
    """The tensors but those whose names end so: numbers that files carry and a network works out itself."""
    return {key: value for key, value in state.items() if not key.endswith(endings)}


class Interleaved(nn.Module):
    """EDSR with attention over all pixels before its residual blocks, and again after each eight of them.

    Each cell of `cell` x `cell` pixels is restored alone, with `overlap` more on each side.
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
        self.tail = nn.Sequential(upsampler(scale, features), conv(features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return by_cells(batch, self.alignment, self.overlap, self.scale, self._whole)

    def _whole(self, batch: Tensor) -> Tensor:
        shallow = self.head(self.shift.enter(batch))
        return self.shift.leave(self.tail(shallow + self.body(shallow)))
