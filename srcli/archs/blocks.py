"""Parts that several networks are built from."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The pixel shuffles that lead to a scale: the x4 of the papers is two steps of x2.
SHUFFLE_STEPS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}


def make_bicubic_kernel(scale: int) -> Tensor:
    """Return a kernel (scale**2, 1, 5, 5) that, with a pixel shuffle, upsamples by Keys' cubic (a = -1/2).

    The input has to be padded by two pixels that repeat its edge.
    """
    centres = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    distance = (torch.arange(-2, 3) - centres[:, None]).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0))
    return torch.einsum("yi,xj->yxij", taps, taps).reshape(scale**2, 1, 5, 5).float()


def disable_autocast(batch: Tensor) -> AbstractContextManager[object]:
    """Return a context in which half precision is off, whatever is set around it."""
    if batch.is_meta:  # the meta device has no autocast
        return nullcontext()
    return torch.autocast(batch.device.type, enabled=False)


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    """Return a convolution that keeps height and width; with a stride, one without padding."""
    padding = size // 2 if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=bias)


def make_upsampler(
    scale: int, features: int, *, groups: int = 1, act: Callable[[], nn.Module] | None = None
) -> nn.Sequential:
    """Return steps of a convolution, an activation `act` if given, and a pixel shuffle."""
    layers: list[nn.Module] = []
    for step in SHUFFLE_STEPS[scale]:
        layers.append(conv(features, features * step**2, groups=groups))
        layers += [act()] if act else []
        layers.append(nn.PixelShuffle(step))
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class IdentityPath:
    """The layers that colours pass from input to output, to initialise a network as an identity.

    `layers`: in order, each with the number of its outputs that a pixel shuffle makes one feature, else 1;
    `added`: modules whose output is added along the way.
    """

    layers: tuple[tuple[nn.Conv2d, int], ...]
    added: tuple[nn.Module, ...]


def init_he(layer: nn.Module) -> None:
    """Initialise by He's method, without which deep plain networks do not learn; for `Module.apply`."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class ResidualBlock(nn.Module):
    """EDSR's block: x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, features: int, res_scale: float = 1.0, size: int = 3) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.body = nn.Sequential(conv(features, features, size), nn.ReLU(), conv(features, features, size))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out: Tensor = batch + self.body(batch) * self.res_scale
        return out


class GlobalStats(nn.Module):
    """The means of all channels over the image and, with `variances`, their variances.

    It is a module so that a runtime that sees one tile at a time can put the statistics of the whole image in
    its place. Call it once per forward pass.
    """

    def __init__(self, variances: bool = False) -> None:
        super().__init__()
        self.variances = variances

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to (1 or 2, N, C, 1, 1)."""
        means = batch.mean((2, 3), keepdim=True)
        if not self.variances:
            return means[None]
        return torch.stack((means, batch.var((2, 3), correction=0, keepdim=True)))


def pool_stats(counts: Sequence[int], moments: Sequence[Tensor]) -> Tensor:
    """Combine the statistics of tiles with `counts` pixels each into those of the image."""
    each = torch.stack(tuple(moments))
    shares = torch.tensor(counts, dtype=each.dtype, device=each.device).view(-1, 1, 1, 1, 1) / sum(counts)
    means, *variances = each.unbind(1)
    mean = (shares * means).sum(0)
    within = [(shares * (variance + (means - mean) ** 2)).sum(0) for variance in variances]
    return torch.stack((mean, *within))


class ChannelAttention(nn.Module):
    """RCAN's channel attention: channels weighted by a function of their means over the image.

    `contrast` adds their standard deviations to the means, as IMDN does.
    """

    def __init__(self, features: int, reduction: int = 16, contrast: bool = False) -> None:
        super().__init__()
        self.contrast = contrast
        squeezed = features // reduction
        self.conv_du = nn.Sequential(
            conv(features, squeezed, 1), nn.ReLU(), conv(squeezed, features, 1), nn.Sigmoid()
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        summary = batch.mean((2, 3), keepdim=True)
        if self.contrast:
            # The square root has no gradient at zero, where a flat channel would be.
            variance = batch.var((2, 3), correction=0, keepdim=True)
            summary = summary + variance.clamp_min(1e-12).sqrt()
        out: Tensor = batch * self.conv_du(summary)
        return out


class BalancedAttention(nn.Module):
    """Channels weighted by their means over the image, and pixels by the largest of their channels: BAM.

    https://arxiv.org/abs/2104.07566
    """

    def __init__(self, features: int, reduction: int = 16) -> None:
        super().__init__()
        self.ca = _ByChannel(features, features // reduction)
        self.sa = _ByPixel()

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out: Tensor = batch * (self.ca(batch) * self.sa(batch))
        return out


class _ByChannel(nn.Module):
    def __init__(self, features: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = conv(features, squeezed, 1, bias=False)
        self.relu1 = nn.PReLU(squeezed)
        self.fc2 = conv(squeezed, features, 1, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(self.relu1(self.fc1(batch.mean((2, 3), keepdim=True)))))


class _ByPixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv(1, 1, 7, bias=False)

    def forward(self, batch: Tensor) -> Tensor:
        return torch.sigmoid(self.conv1(batch.amax(1, keepdim=True)))


def non_local_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Compute softmax attention of every pixel to all pixels; the full matrix of pairs is never stored.

    All are (N, C, H, W); keys and values may have another height and width than queries and the result.
    """
    rows = [batch.flatten(2).mT.contiguous()[:, None] for batch in (queries, keys, values)]
    out = F.scaled_dot_product_attention(rows[0], rows[1], rows[2], scale=1.0)
    return out[:, 0].mT.reshape(queries.shape)


class SpatialAttention(nn.Module):
    """RFANet's enhanced spatial attention: pixels weighted by what a few channels see in a wider field.

    `refining`: names of the convolutions between pooling and upsampling, with `act` between them; `make`
    builds them, and `reduce` (by default `make`) the strided convolution before the pooling.
    """

    # The smallest side: a 3x3 convolution with stride 2, then pooling of 7x7 with stride 3.
    LEAST = 15

    def __init__(
        self,
        features: int,
        squeezed: int,
        refining: tuple[str, ...],
        act: nn.Module,
        make: Callable[..., nn.Module] = conv,
        reduce: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.refining, self.act = refining, act
        self.conv1 = conv(features, squeezed, 1)
        self.conv_f = conv(squeezed, squeezed, 1)
        self.conv2 = (reduce or make)(squeezed, squeezed, stride=2)
        for name in refining:
            self.add_module(name, make(squeezed, squeezed))
        self.conv4 = conv(squeezed, features, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W), at least `LEAST` pixels on a side, to the same shape."""
        few = self.conv1(batch)
        seen = F.max_pool2d(self.conv2(few), kernel_size=7, stride=3)
        for name in self.refining:
            seen = self.get_submodule(name)(seen)
            seen = seen if name == self.refining[-1] else self.act(seen)
        wide = F.interpolate(seen, batch.shape[2:], mode="bilinear", align_corners=False)
        return batch * torch.sigmoid(self.conv4(wide + self.conv_f(few)))


# The names of RFDN's three convolutions in `SpatialAttention`.
RFDN_LAYERS = ("conv_max", "conv3", "conv3_")


class Distillation(nn.Module):
    """RFDN's block: each step keeps a distilled half and refines the rest; 1x1 fuses all halves.

    `act`: between its layers; `attention`: at its end, `esa` in published keys; `make` builds a 3x3
    convolution.
    """

    def __init__(
        self, features: int, act: nn.Module, attention: nn.Module, make: Callable[..., nn.Module]
    ) -> None:
        super().__init__()
        kept = features // 2
        self.act = act
        self.c1_d, self.c2_d, self.c3_d = (conv(features, kept, 1) for _ in range(3))
        self.c1_r, self.c2_r, self.c3_r = (make(features, features) for _ in range(3))
        self.c4 = make(features, kept)
        self.c5 = conv(4 * kept, features, 1)
        self.esa = attention

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W), as large as the attention needs, to the same shape."""
        refined, kept = batch, []
        steps = ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r))
        for distil, refine in steps:
            kept.append(self.act(distil(refined)))
            refined = self.act(refined + refine(refined))
        kept.append(self.act(self.c4(refined)))
        out: Tensor = self.esa(self.c5(torch.cat(kept, 1)))
        return out


def run_chain(blocks: Iterable[nn.Module], batch: Tensor) -> list[Tensor]:
    """Run blocks one after the other; return the output of each."""
    results = [batch]
    for block in blocks:
        results.append(block(results[-1]))
    return results[1:]


def pad_to_side(batch: Tensor, side: int) -> Tensor:
    """Pad the right and lower edges by repetition to at least `side` pixels."""
    height, width = batch.shape[2:]
    missing = (0, max(0, side - width), 0, max(0, side - height))
    return F.pad(batch, missing, mode="replicate") if any(missing) else batch


def pad_reflect(batch: Tensor, sides: tuple[int, int, int, int]) -> Tensor:
    """Pad by reflection; `sides`: pixels at the left, right, top and bottom.

    An axis that is too short to be reflected is padded by repetition.
    """
    left, right, top, bottom = sides
    for before, after, size, padding in (
        (left, right, batch.shape[3], (left, right, 0, 0)),
        (top, bottom, batch.shape[2], (0, 0, top, bottom)),
    ):
        if before or after:
            batch = F.pad(batch, padding, mode="reflect" if size > max(before, after) else "replicate")
    return batch


def run_by_cells(
    batch: Tensor, cell: int, overlap: int, scale: int, restore: Callable[[Tensor], Tensor]
) -> Tensor:
    """Restore cells of `cell` x `cell` pixels one by one, each seen with `overlap` pixels around it."""
    height, width = batch.shape[2:]
    rows = (
        [_cell(batch, (top, left), cell, overlap, scale, restore) for left in range(0, width, cell)]
        for top in range(0, height, cell)
    )
    return torch.cat([torch.cat(row, 3) for row in rows], 2)


def _cell(
    batch: Tensor,
    place: tuple[int, int],
    cell: int,
    overlap: int,
    scale: int,
    restore: Callable[[Tensor], Tensor],
) -> Tensor:
    """Restore the cell at `place` together with the pixels around it; return the cell alone."""
    seen = [slice(max(0, at - overlap), at + cell + overlap) for at in place]
    out = restore(batch[:, :, seen[0], seen[1]])
    sides = zip(place, seen, batch.shape[2:], strict=True)
    above, before = (
        slice((at - part.start) * scale, (min(at + cell, length) - part.start) * scale)
        for at, part, length in sides
    )
    return out[:, :, above, before]


def list_combinations(values: Tensor, count: int) -> Tensor:
    """Return every choice of `count` of L values, the last one changing fastest: (L**count, count)."""
    return torch.cartesian_prod(*[values] * count)


class Body(nn.Module):
    """Layers in a row, under the name that the published keys have for them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) through all layers."""
        out: Tensor = self.body(batch)
        return out


class Residual(nn.Module):
    """x + body(x), where the body is a sequence of layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out: Tensor = batch + self.body(batch)
        return out


def make_attention_group(features: int, blocks: int, attention: Callable[[], nn.Module]) -> Residual:
    """Return RCAN's residual group of residual blocks that end with attention."""

    def block() -> Residual:
        return Residual(conv(features, features), nn.ReLU(), conv(features, features), attention())

    return Residual(*(block() for _ in range(blocks)), conv(features, features))


class MeanShift(nn.Module):
    """The range a network was trained in: RGB times `span`, plus `offset`, minus DIV2K's mean times `mean`.

    Published checkpoints carry these numbers as frozen 1x1 convolutions; here they are constants. With one of
    the `channels` it is for luma.
    """

    shift: Tensor

    def __init__(self, span: float, mean: float, offset: float = 0.0, channels: int = 3) -> None:
        super().__init__()
        self.span, self.mean, self.offset = span, mean, offset
        self.is_identity = (span, mean, offset) == (1.0, 0.0, 0.0)
        colour = torch.tensor((0.4488, 0.4371, 0.4040)).view(1, 3, 1, 1)
        colour = colour if channels == 3 else colour.mean(1, keepdim=True)
        self.register_buffer("shift", colour * mean - offset, persistent=False)

    def enter(self, batch: Tensor) -> Tensor:
        """Convert RGB in [0, 1] to the range of the network."""
        return batch if self.is_identity else batch * self.span - self.shift

    def leave(self, batch: Tensor) -> Tensor:
        """Convert the network's output to RGB in [0, 1]."""
        return batch if self.is_identity else (batch + self.shift) / self.span


def drop_mean_shift(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the tensors of `sub_mean` and `add_mean`."""
    return {key: value for key, value in state.items() if not key.startswith(("sub_mean.", "add_mean."))}


def count_numbers(state: dict[str, Any], prefix: str) -> int:
    """Return how many layers have keys with the prefix: one more than the highest number after it."""
    found = (re.match(rf"{re.escape(prefix)}(\d+)", key) for key in state)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def rename_keys(state: dict[str, Any], rules: dict[str, str]) -> dict[str, Any]:
    """Apply rules to every key, one after the other: regular expressions and their replacements."""
    for pattern, replacement in rules.items():
        state = {re.sub(pattern, replacement, key): value for key, value in state.items()}
    return state


def list_basicsr_names(state: dict[str, Any], inner: dict[str, str]) -> dict[str, str]:
    """Return rules that turn BasicSR's names of an EDSR-like network into head, body and tail.

    `inner`: rules for what is in the body. There are no rules for tensors of other networks.
    """
    if "conv_after_body.weight" not in state or "upsample.0.weight" not in state:
        return {}
    return inner | {
        r"^conv_first\.": "head.0.",
        r"^conv_after_body\.": f"body.{count_numbers(state, 'body.')}.",
        r"^upsample\.(\d+)\.": r"tail.0.\1.",
        r"^conv_last\.": "tail.1.",
    }


def number_from_zero(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Rename keys such as `IMDB1.c1.weight` to `IMDB.0.c1.weight`."""
    return {
        re.sub(rf"^{prefix}(\d+)", lambda match: f"{prefix.rstrip('_')}.{int(match[1]) - 1}", key): value
        for key, value in state.items()
    }
