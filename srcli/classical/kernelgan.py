"""Blind: the blur of an image, found by a network that makes it smaller so that nobody can tell.

Small patches of a natural image look alike at every size, when they were made small in the same way. So a
generator G, linear convolutions whose product is the kernel k, makes the given image y smaller by D (k * y).
A discriminator learns to tell patches of that from patches of y; where it can't, k is the blur of y itself:

    min over G  mean (d(D (k * y)) - 1)^2 + R(k),    min over d  mean (d(y) - 1)^2 + mean d(D (k * y))^2
    R(k) = |1 - sum k| / 2 + |k's outer part| / 2 + mean sqrt|k| + |the centre of k, in pixels|

Bell-Kligler, Shocher and Irani, Blind Super-Resolution Kernel Estimation using an Internal-GAN, NeurIPS 2019,
https://arxiv.org/abs/1909.06581. There the kernel holds the reduction too; here bicubic follows it, so that
it is what `--kernel` and the degradation `camera` take, and the identity where bicubic alone was at work.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srcli.classical.networks import drawing, to_batch
from srcli.classical.problem import Problem
from srcli.classical.settings import Clock
from srcli.imaging.color import luma
from srcli.imaging.steps import operator

SIZES = (7, 5, 3, 1, 1, 1)
FEATURES, JUDGES = 32, 32
SIDE = sum(SIZES) - len(SIZES) + 1
CROP, STEPS, RATE = 64, 600, 1e-3
SMALLEST = 32
# How much sharp edges are preferred to soft ones, which say more of the scene than of the blur; how much it
# counts that there are few weights.
POWER, FEW = 3, 1.0
# Of the largest weight: what is less is taken for noise.
_FAINT = 1 / 20


class Generator(nn.Module):
    """Convolutions without anything between them: one kernel (SIDE, SIDE), the identity to begin with."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, *[FEATURES] * (len(SIZES) - 1), 1]
        layers = [
            nn.Conv2d(a, b, size, bias=False)
            for (a, b), size in zip(itertools.pairwise(widths), SIZES, strict=True)
        ]
        for layer, size in zip(layers, SIZES, strict=True):
            spread = torch.eye(layer.out_channels, layer.in_channels)
            if 1 in spread.shape:
                spread = torch.full_like(spread, FEATURES**-0.5)
            layer.weight.data.mul_(0.1)
            layer.weight.data[..., size // 2, size // 2] += spread
        self.layers = nn.Sequential(*layers)

    def forward(self, batch: Tensor) -> Tensor:
        """(N, 1, H, W) to what is left without borders of SIDE // 2."""
        return torch.as_tensor(self.layers(batch))

    def kernel(self) -> Tensor:
        """(SIDE, SIDE), for correlation."""
        point = torch.zeros(1, 1, 2 * SIDE - 1, 2 * SIDE - 1, device=next(self.parameters()).device)
        point[..., SIDE - 1, SIDE - 1] = 1
        return self.forward(point)[0, 0].flip(0, 1)


def _judge() -> nn.Sequential:
    """How genuine each patch of 7 x 7 is."""

    def plain(inputs: int, outputs: int, size: int = 1) -> nn.Module:
        return nn.utils.parametrizations.spectral_norm(nn.Conv2d(inputs, outputs, size))

    middle = [part for _ in range(3) for part in (plain(JUDGES, JUDGES), nn.BatchNorm2d(JUDGES), nn.ReLU())]
    return nn.Sequential(plain(1, JUDGES, 7), *middle, plain(JUDGES, 1), nn.Sigmoid())


def estimate(problem: Problem) -> NDArray[np.float64]:
    """The kernel (SIDE, SIDE) by which the image of `problem` was blurred at its large size, summing to one.

    Raises `ImageError` for images that are too small to tell.
    """
    problem.check_sides(SMALLEST)
    plane = problem.small if problem.small.shape[2] == 1 else np.asarray(luma(problem.small))[..., None]
    with drawing(problem.seed, problem.device):
        generator = _trained(to_batch(plane, problem.device), problem.scale, problem.clock)
    found = generator.kernel().detach().cpu().numpy().astype(np.float64)
    found[found < _FAINT * found.max()] = 0
    return np.asarray(found / found.sum())


def _trained(image: Tensor, scale: float, clock: Clock) -> Generator:
    generator, judge = Generator().to(image.device), _judge().to(image.device)
    large = min(CROP, *image.shape[2:])
    inner = large - SIDE + 1
    small = max(8, round(inner / scale))
    down = torch.from_numpy(operator(inner, small, "bicubic")).to(image.device)
    makers = torch.optim.Adam(generator.parameters(), RATE, (0.5, 0.999))
    judges = torch.optim.Adam(judge.parameters(), RATE, (0.5, 0.999))
    detail = _detail(image)
    for _ in clock.rounds(STEPS):
        made = down @ generator(_crop(image, detail, large)) @ down.T
        genuine = _crop(image, detail, small)
        judges.zero_grad()
        wrong = ((judge(genuine) - 1) ** 2).mean() + (judge(made.detach()) ** 2).mean()
        wrong.backward()
        judges.step()
        makers.zero_grad()
        seen = ((judge(made) - 1) ** 2).mean() + _regular(generator.kernel())
        seen.backward()
        makers.step()
    return generator


def _detail(image: Tensor) -> Tensor:
    """How much there is to see around each pixel: the chance (H, W) of a crop there."""
    y = (image[..., 1:, :] - image[..., :-1, :]).abs()[..., :-1]
    x = (image[..., :, 1:] - image[..., :, :-1]).abs()[..., :-1, :]
    return (y + x)[0, 0] ** POWER + 1e-6


def _crop(image: Tensor, detail: Tensor, side: int) -> Tensor:
    """A square of the image, around a pixel drawn where there is something to see."""
    drawn = int(torch.multinomial(detail.flatten(), 1).item())
    place = divmod(drawn, detail.shape[1])
    y, x = (
        min(max(at - side // 2, 0), length - side) for at, length in zip(place, image.shape[2:], strict=True)
    )
    return image[..., y : y + side, x : x + side]


def _regular(kernel: Tensor) -> Tensor:
    """R(k) of the module's formula."""
    axis = torch.arange(SIDE, device=kernel.device) - SIDE // 2
    radius = torch.hypot(axis[:, None].float(), axis[None].float()) / (SIDE // 2)
    total = kernel.sum()
    centre = torch.hypot((kernel * axis[:, None]).sum(), (kernel * axis).sum())
    outer = (kernel.abs() * radius.clamp(max=1.5) ** 4).sum()
    few = kernel.abs().add(1e-6).sqrt().sum() / SIDE**2
    return 0.5 * (1 - total).abs() + 0.5 * outer + FEW * few + centre
