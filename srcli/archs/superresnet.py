"""SuperResNet: ten convolutions over a bilinear enlargement, which is added to what they give.

No publication or public code of this name with these layers was found; they are as the project's list has
them: two convolutions that take 64 features from the enlarged image, eight that map them, a reconstruction,
and the enlarged image added. The keys name those parts: extract, map, reconstruct.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.archs import UNPUBLISHED, Count, Facts, Traits
from srcli.archs.blocks import conv, disable_autocast, init_he

PAPER = UNPUBLISHED
TRAITS = Traits(scales=(2, 3, 4))
FACTS = Facts(
    small={"blocks": 2, "features": 16},
    counts=(
        Count(2, 335_875),  # no publication counts it
    ),
    export_errors={"ncnn": "reshape"},
)


class Network(nn.Module):
    """2 + 8 convolutions of 64 features. It enlarges by itself, as `pre_upsampled` means bicubic."""

    phases: Tensor

    def __init__(self, *, scale: int, extract: int = 2, blocks: int = 8, features: int = 64) -> None:
        super().__init__()
        self.channels, self.scale = 3, scale
        layers = extract + blocks + 1
        # All layers at the output's size, and the next input pixel where they end between two.
        self.halo = -(-(scale + 2 * layers - 1) // (2 * scale))
        self.extract = nn.Sequential(
            _make_block(3, features), *(_make_block(features, features) for _ in range(extract - 1))
        )
        self.map = nn.Sequential(*(_make_block(features, features) for _ in range(blocks)))
        self.reconstruct = conv(features, 3)
        self.register_buffer("phases", _make_bilinear_kernel(scale), persistent=False)
        self.apply(init_he)

    def forward(self, batch: Tensor) -> Tensor:
        """Map (N, 3, H, W) of RGB in [0, 1] to (N, 3, H*scale, W*scale)."""
        with disable_autocast(batch):  # half precision would round the image itself
            enlarged = self._upsample(batch)
        out: Tensor = enlarged + self.reconstruct(self.map(self.extract(enlarged)))
        return out

    def _upsample(self, batch: Tensor) -> Tensor:
        """Upscale bilinearly with fixed kernels, so that results do not depend on where a tile begins."""
        planes = F.pad(batch, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
        large = F.pixel_shuffle(F.conv2d(planes, self.phases), self.scale)
        return large.view(*batch.shape[:2], *large.shape[2:])


def _make_block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, outputs), nn.ReLU())


def _make_bilinear_kernel(scale: int) -> Tensor:
    """Return a kernel (scale**2, 1, 3, 3) that, with a pixel shuffle, upsamples a padded plane bilinearly."""
    centres = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    taps = (1 - (torch.arange(-1, 2) - centres[:, None]).abs()).clamp_min(0)
    return torch.einsum("yi,xj->yxij", taps, taps).reshape(scale**2, 1, 3, 3).float()
