"""BAIRNet: one network that reduces and enlarges images by any factors, both learned together.

The authors published neither code nor weights, and only their abstract could be read here. As there: one
network for both directions, optimised as one. Weights are generated for each output pixel, by its place
between the input's pixels and by the factors of height and width. Ours are all sizes, RDN's features for
enlarging and EDSR's for reducing, what is generated being added to bilinear and bicubic pixels, and the keys.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from srcli.archs import Facts, Paper, Traits, edsr, rdn
from srcli.archs.anyscale import (
    ArbitraryScaleNetwork,
    MetaUpscale,
    PixelOffsets,
    find_centre_pixels,
    interpolate_bilinear,
    run_in_bands,
)
from srcli.scales import Axis, Window, make_full_window

PAPER = Paper(
    "Towards Bidirectional Arbitrary Image Rescaling: Joint Optimization and Cycle Idempotence",
    2022,
    "https://arxiv.org/abs/2203.00911",
)
TRAITS = Traits(scales=(2, 3, 4), any_scale=True)
FACTS = Facts(
    small={"blocks": 2, "layers": 2, "growth": 8, "features": 16, "hidden": 16, "reducing": 1},
    export_errors={
        "ncnn": "its scale is an input",
        "onnx": "its scale is an input",
        "torchscript": "its scale is an input",
    },
)


class Network(ArbitraryScaleNetwork):
    """RDN of 16 blocks for enlarging, 8 blocks of EDSR's for reducing (`reducing`)."""

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 16,
        layers: int = 8,
        growth: int = 64,
        features: int = 64,
        hidden: int = 256,
        reducing: int = 8,
    ) -> None:
        super().__init__(scale)
        self.encoder = rdn.Encoder(blocks, layers, growth, features)
        # One for the filter; the image itself, bilinear, sees less.
        self.halo = self.encoder.halo + 1
        self.enlarging = MetaUpscale(features, hidden, 2)
        self.reducer = edsr.Encoder(reducing, features)
        self.reducing = MetaUpscale(features, hidden, 2)

    def forward(self, batch: Tensor, window: Window | None = None) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to the window of the output, by default all at `scale`."""
        features = F.pad(self.encoder(2 * batch - 1), (1, 1, 1, 1))
        colours = batch.movedim(1, 3)

        def make(part: Window) -> Tensor:
            return _apply_filters(self.enlarging, features, part) + interpolate_bilinear(colours, part)

        return run_in_bands(make, window or self.window(batch))

    def downscale(self, batch: Tensor, size: tuple[int, int]) -> Tensor:
        """Downscale (N, 3, H, W) of RGB in [0, 1] to `size` (height, width), not rounded to 8-bit levels.

        Filters see means of features over the areas of output pixels; what they give is added to bicubic's.
        """
        features = F.pad(F.adaptive_avg_pool2d(self.reducer(2 * batch - 1), size), (1, 1, 1, 1))
        plain = F.interpolate(batch, size, mode="bicubic", antialias=True)
        window = make_full_window(batch.shape[2], batch.shape[3], size)
        y, x = (_locate_outputs(axis, batch) for axis in window)
        out: Tensor = self.reducing(features, y, x, [axis.cell for axis in window], (0, size[0] - 1))
        return plain + out


def _apply_filters(filters: MetaUpscale, features: Tensor, window: Window) -> Tensor:
    """Apply each output pixel's filter around the input pixel that holds it."""
    y, x = window
    rows = (y.find_centre(y.first), y.find_centre(y.last - 1))
    out: Tensor = filters(
        features, find_centre_pixels(y, features), find_centre_pixels(x, features), (y.cell, x.cell), rows
    )
    return out


def _locate_outputs(axis: Axis, like: Tensor) -> PixelOffsets:
    """Return each pixel of the downscaled axis, and its distance to the centre of the large pixel there."""
    return PixelOffsets(torch.arange(axis.outputs, device=like.device), find_centre_pixels(axis, like).offset)
