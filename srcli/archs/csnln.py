"""CSNLN: details looked up elsewhere in the image, at its own scale and a larger one.

Keys as in the authors' code (SHI-Labs/Cross-Scale-Non-Local-Attention): head, SEM, tail.

Every pixel is compared with every other, so that cost grows with the square of the area. The authors cut
images into pieces below 60x60 that overlap by ten; here each cell of 48x48, the size of a training patch, is
restored alone, with six pixels more on each side. Up to that size the network is the authors' exactly, and as
cells lie at multiples of their side, tiles change nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.blocks import MeanShift, conv, drop_mean_shift, non_local_attention, run_by_cells

PAPER = Paper(
    "Image Super-Resolution with Cross-Scale Non-Local Attention and Exhaustive Self-Exemplars Mining",
    2020,
    "https://arxiv.org/abs/2006.01424",
)
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"depth": 1, "features": 4, "cell": 6},
    counts=(
        Count(2, 3_061_265),  # the authors' code's; 3M
        Count(3, 6_010_385),
        Count(4, 6_568_603),  # 6.57M
    ),
    # A patch of several small cells would take a minute of training.
    training={"cell": 48},
    export_errors={"ncnn": "cells", "onnx": "cells", "torchscript": "cells"},
)

# What is seen around a cell: a multiple of 2 and 3, so that all begin on the grid of the smaller scale.
OVERLAP = 6


class Network(nn.Module):
    """Twelve times the same unit. `cell`: the side of what is restored at once, a multiple of 6."""

    def __init__(self, *, scale: int, depth: int = 12, features: int = 128, cell: int = 48) -> None:
        super().__init__()
        self.channels = 3
        self.scale, self.depth = scale, depth
        self.alignment = cell
        self.works_in = "cells"
        self.halo = cell - 1 + OVERLAP
        # How much larger a unit's attention looks: x4 is twice x2.
        self.step = 3 if scale == 3 else 2
        self.shift = MeanShift(1.0, 1.0)
        self.head = nn.Sequential(_with_prelu(conv(3, features, 3)), _with_prelu(conv(features, features)))
        self.SEM = _Unit(features, scale, self.step)
        self.tail = nn.Sequential(conv(depth * features, 3))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        return run_by_cells(
            batch,
            self.alignment,
            OVERLAP,
            self.scale,
            lambda cell: self._restore(_pad_to_steps(cell, self.step)),
        )

    def _restore(self, batch: Tensor) -> Tensor:
        """Run the authors' network; `step` divides both sides."""
        features, kept = self.head(self.shift.enter(batch)), []
        for _ in range(self.depth):
            features, enlarged = self.SEM(features)
            kept.append(enlarged)
        return self.shift.leave(self.tail(torch.cat(kept, 1)))


def _pad_to_steps(batch: Tensor, step: int) -> Tensor:
    """Pad the right and lower edges by repetition to multiples of `step`."""
    height, width = batch.shape[2:]
    missing = (0, -width % step, 0, -height % step)
    return F.pad(batch, missing, mode="replicate") if any(missing) else batch


def _with_prelu(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.PReLU())


class _Unit(nn.Module):
    """Details, corrected by what is lost when they are downscaled again; at x4 in two steps."""

    def __init__(self, features: int, scale: int, step: int) -> None:
        super().__init__()
        self.twice = scale == 4
        self.multi_source_projection = _Projection(features, step)
        self.down_sample_1 = _with_prelu(_make_downsampler(features, step))
        self.error_encode = _with_prelu(_make_upsampler(features, step))
        if self.twice:
            self.multi_source_projection_2 = _Projection(features, step)
            self.down_sample_3, self.down_sample_4 = (
                _with_prelu(_make_downsampler(features, 4)) for _ in range(2)
            )
            self.error_encode_2 = _with_prelu(_make_upsampler(features, 4))
        else:
            self.down_sample_2 = _with_prelu(_make_downsampler(features, step))
        self.post_conv = _with_prelu(conv(features, features))

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C, H, W) to the same shape, and to (N, C, H*scale, W*scale)."""
        large = self.multi_source_projection(batch)
        large = large + self.error_encode(batch - self.down_sample_1(large))
        if not self.twice:
            return self.post_conv(self.down_sample_2(large)), large
        large = self.multi_source_projection_2(large)
        large = large + self.error_encode_2(batch - self.down_sample_3(large))
        return self.post_conv(self.down_sample_4(large)), large


def _make_downsampler(features: int, step: int) -> nn.Conv2d:
    return nn.Conv2d(features, features, **_kernel_shape(step))


def _make_upsampler(features: int, step: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(features, features, **_kernel_shape(step))


def _kernel_shape(step: int) -> dict[str, Any]:
    """Return a kernel of three strides, or of two at stride 4."""
    return {"kernel_size": 8 if step == 4 else 3 * step, "stride": step, "padding": 2 if step == 4 else step}


class _Projection(nn.Module):
    """Both kinds of attention, upsampled by `step`; their difference is refined and added."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.up_attention = _CrossScale(features, step)
        self.down_attention = _InScale(features)
        self.upsample = _with_prelu(_make_upsampler(features, step))
        self.encoder = _Residual(features)

    def forward(self, batch: Tensor) -> Tensor:
        own = self.upsample(self.down_attention(batch))
        out: Tensor = own + self.encoder(self.up_attention(batch) - own)
        return out


class _Residual(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.PReLU(), conv(features, features))

    def forward(self, batch: Tensor) -> Tensor:
        out: Tensor = batch + self.body(batch)
        return out


class _InScale(nn.Module):
    """In-scale attention: each pixel as a mean of all, weighted by similarity."""

    def __init__(self, features: int) -> None:
        super().__init__()
        squeezed = features // 2
        self.conv_match1, self.conv_match2 = (_with_prelu(conv(features, squeezed, 1)) for _ in range(2))
        self.conv_assembly = _with_prelu(conv(features, features, 1))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, without the matrix of all pairs."""
        queries, keys, values = self.conv_match1(batch), self.conv_match2(batch), self.conv_assembly(batch)
        # Zeros change no product; with as many channels in all three, no matrix of all pairs is made.
        queries, keys = (torch.cat((half, torch.zeros_like(half)), 1) for half in (queries, keys))
        return non_local_attention(queries, keys, values)


class _CrossScale(nn.Module):
    """Cross-scale attention: patches `step` times as large, from where the downscaled image looks alike."""

    SIDE = 3
    SHARPNESS = 10.0
    LEAST_NORM = 1e-4

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.step = step
        squeezed = features // 2
        self.conv_match_1, self.conv_match_2 = (_with_prelu(conv(features, squeezed, 1)) for _ in range(2))
        self.conv_assembly = _with_prelu(conv(features, features, 1))

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H*step, W*step); `step` divides H and W."""
        small = [side // self.step for side in batch.shape[2:]]
        reduced = F.interpolate(batch, small, mode="bilinear", align_corners=False)
        keys = F.unfold(self.conv_match_2(reduced), self.SIDE, padding=1)
        keys = keys / keys.norm(dim=1, keepdim=True).clamp_min(self.LEAST_NORM)
        asked = F.unfold(self.conv_match_1(batch), self.SIDE, padding=1)
        weights = torch.softmax(self.SHARPNESS * keys.mT @ asked, 1)
        return self._add_patches(self.conv_assembly(batch), weights)

    def _add_patches(self, values: Tensor, weights: Tensor) -> Tensor:
        """Add large patches with weights (N, patches, pixels); the authors divide by 6 at every scale."""
        side, step = self.SIDE * self.step, self.step
        patches = F.unfold(values, side, padding=step, stride=step)
        size = (values.shape[2] * step, values.shape[3] * step)
        return F.fold(patches @ weights, size, side, padding=step, stride=step) / 6


def rename(state: dict[str, Any]) -> dict[str, Any]:
    """Drop the mean-shift tensors and the lower bound of norms."""
    return {key: value for key, value in drop_mean_shift(state).items() if not key.endswith(".escape_NaN")}
