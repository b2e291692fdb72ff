"""LIIF: an image as a function of its place, decoded from the features around it; its scale is any.

Keys as in the authors' code (yinboc/liif): encoder, imnet. The mean-shift tensors that its files carry beside
EDSR's are not used there, nor here.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from srcli.archs import Count, Facts, Paper, Traits
from srcli.archs.anyscale import (
    ArbitraryScaleNetwork,
    Mlp,
    PixelOffsets,
    blend_neighbours,
    build_encoder,
    find_window_neighbours,
    gather_pixels,
    run_in_bands,
)
from srcli.archs.anyscale import drop_unused_keys as rename
from srcli.scales import Window

__all__ = ["FACTS", "PAPER", "TRAITS", "VARIANTS", "Network", "rename"]

PAPER = Paper(
    "Learning ArbitraryScaleNetwork Image Representation with Local Implicit Image Function",
    2021,
    "https://arxiv.org/abs/2012.09161",
)
TRAITS = Traits(scales=(2, 3, 4), any_scale=True)
VARIANTS: tuple[dict[str, Any], ...] = ({}, {"encoder": "rdn"})
FACTS = Facts(
    small={"blocks": 2, "features": 16, "hidden": 24},
    counts=(
        Count(2, 1_567_299),  # the authors' file, less its mean shift
        Count(2, 22_320_835, {"encoder": "rdn"}),
    ),
    export_errors={
        "ncnn": "its scale is an input",
        "onnx": "its scale is an input",
        "torchscript": "its scale is an input",
    },
)


class Network(ArbitraryScaleNetwork):
    """On EDSR's baseline by default; the paper's other one is on RDN.

    `blocks`: see `build_encoder`; `hidden`: width of its decoder.
    """

    def __init__(
        self, *, scale: int, encoder: str = "edsr", blocks: int = 0, features: int = 64, hidden: int = 256
    ) -> None:
        super().__init__(scale)
        self.features = features
        self.encoder = build_encoder(encoder, blocks, features)
        # One for the features around each, one for the pixel on the other side.
        self.halo, self.alignment = self.encoder.halo + 2, self.encoder.alignment
        # Nine features, a place and the size of an output pixel.
        self.imnet = Mlp(9 * features + 4, (hidden,) * 4, 3)

    def forward(self, batch: Tensor, window: Window | None = None) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to the window of the output, by default all at `scale`."""
        first = self.imnet.first
        wide = 9 * self.features
        # The decoder starts with a linear layer: its part for the features is computed once per pixel.
        kernel = first.weight[:, :wide].reshape(-1, self.features, 3, 3)
        planes = F.conv2d(self.encoder(2 * batch - 1), kernel, first.bias, padding=1).movedim(1, 3)

        def make(part: Window) -> Tensor:
            return self._decode(planes, part)

        return run_in_bands(make, window or self.window(batch)) / 2 + 0.5

    def _decode(self, planes: Tensor, window: Window) -> Tensor:
        """Decode (N, H, W, hidden) at the pixels of the window: (N, 3, h, w) in [-1, 1]."""
        weights = self.imnet.first.weight[:, 9 * self.features :]
        place, size = weights[:, :2], weights[:, 2:]
        cells = size @ planes.new_tensor([2 * axis.cell for axis in window])

        def decode(y: PixelOffsets, x: PixelOffsets) -> Tensor:
            # As the authors have it: a pixel is 2 wide.
            across = 2 * x.offset[:, None] * place[:, 1] + cells
            values = (
                gather_pixels(planes, y.pixel, x.pixel)
                + (2 * y.offset[:, None] * place[:, 0])[:, None]
                + across
            )
            return self.imnet.apply_rest(values)

        return blend_neighbours(decode, *find_window_neighbours(window, planes)).movedim(3, 1)
