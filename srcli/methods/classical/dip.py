"""Deep image prior: a network that knows no image draws natural ones sooner than it draws anything else.

An hourglass network g with random weights w and fixed random input z is fitted to the given image alone,

    min over w of  mean (D K x - y)^2,    x = D+ y + g(z + n; w),    n new noise at every step

and stopped before it draws what is not there: when the error is that of rounding to 8 bits (the discrepancy
principle), when it no longer falls, or when time is over. The result is a running mean of what was drawn,
errors against the given image projected back (see `ibp`). Ulyanov, Vedaldi and Lempitsky, CVPR 2018,
https://arxiv.org/abs/1711.10925. The paper's network is wider, draws all of the image and takes more steps.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.methods.classical.ibp import back_project
from srcli.methods.classical.networks import Reduce, seed_torch, to_batch, to_pixels
from srcli.methods.classical.operators import Values
from srcli.methods.classical.problem import ROUNDING, Problem
from srcli.methods.classical.settings import Clock

# Channels at each size, which is half the one before; fewer for small images.
WIDTHS = (16, 32, 48, 48, 48)
SKIPPED, INPUTS = 4, 8
STEPS = 600
RATE = 3e-3
NOISE, AMPLITUDE = 0.03, 0.1
# Weight of the running mean at each step.
KEEP = 0.98
# Steps without a smaller error, on average, after which it is enough.
PATIENCE = 300
_FITTING = 0.95


def _turn(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    padded = nn.Conv2d(inputs, outputs, size, stride, size // 2, padding_mode="reflect")
    return nn.Sequential(padded, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


class Hourglass(nn.Module):
    """(1, INPUTS, H, W) to (1, C, H, W): down by halves and up again, with skip connections at each size."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        widths = [INPUTS, *WIDTHS[:depth]]
        pairs = list(itertools.pairwise(widths))
        self.across = nn.ModuleList(_turn(width, SKIPPED, 1) for width, _ in pairs)
        self.down = nn.ModuleList(nn.Sequential(_turn(a, b, stride=2), _turn(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(_turn(below + SKIPPED, own) for own, below in self._upward(pairs))
        self.last = nn.Conv2d(widths[1], channels, 1)
        nn.init.zeros_(self.last.weight)  # bicubic, to begin with

    @staticmethod
    def _upward(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield from the smallest size up: channels of the level, and those from the level below."""
        below = pairs[-1][1]
        for _, own in reversed(pairs):
            yield own, below
            below = own

    def forward(self, x: Tensor) -> Tensor:
        """Return the same size."""
        passed = []
        for across, down in zip(self.across, self.down, strict=True):
            passed.append(across(x))
            x = down(x)
        for aside, up in zip(reversed(passed), self.up, strict=True):
            wide = F.interpolate(x, aside.shape[2:], mode="bilinear")
            x = up(torch.cat([wide, aside], 1))
        return torch.as_tensor(self.last(x))


def solve(problem: Problem) -> Values:
    """Return the image (H, W, C) that the network generates."""
    problem.check_sides(8)
    fitting, rest = problem.clock.part(_FITTING)
    with seed_torch(problem.seed, problem.device):
        drawn = fit(problem, fitting)
    return back_project(to_pixels(drawn), problem.small, problem.reduction, rest)


@dataclass
class Patience:
    """Early stopping for a noisy error: its running mean compared with the lowest so far."""

    mean: float = math.inf
    least: float = math.inf
    waited: int = 0

    def is_exhausted(self, error: float) -> bool:
        """Note an error; return whether it has stopped falling."""
        self.mean = error if math.isinf(self.mean) else 0.98 * self.mean + 0.02 * error
        self.waited = 0 if self.mean < 0.99 * self.least else self.waited + 1
        self.least = min(self.least, self.mean)
        return self.waited >= PATIENCE


def fit(problem: Problem, clock: Clock) -> Tensor:
    """Fit the network; return the running mean (1, C, H, W) of its outputs over the later steps."""
    given, reduce = to_batch(problem.small, problem.device), Reduce(problem)
    depth = max(1, min(len(WIDTHS), min(problem.size).bit_length() - 3))
    network = Hourglass(problem.small.shape[2], depth).to(problem.device)
    start = to_batch(problem.reduction.enlarge(problem.small), problem.device)
    source = AMPLITUDE * torch.rand(1, INPUTS, *problem.size, device=problem.device)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    patience, mean = Patience(), start
    for number, _ in enumerate(clock.rounds(STEPS)):
        optimiser.zero_grad()
        drawn = start + network(source + NOISE * torch.randn_like(source))
        loss = F.mse_loss(reduce(drawn), given)
        (loss / ROUNDING).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        mean = torch.lerp(drawn.detach(), mean, min(KEEP, number / (number + 9)))
        if loss.item() < ROUNDING or patience.is_exhausted(loss.item()):
            break
    return mean
