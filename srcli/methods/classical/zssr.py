"""Zero-shot super-resolution: a small network learns on the image itself how to undo its own reduction.

The given image, and smaller versions of it, are fathers f; each is reduced as the image is thought to have
been, which makes a son s = D K f. With P s the son's bicubic enlargement, errors projected back (see `ibp`),
the network g learns what is missing:

    min over g of  mean |P s + g(P s) - f|,    result: P y + g(P y), the mean over eight orientations

and errors against the given image y are projected back once more. Shocher, Cohen and Irani, "Zero-Shot"
Super-Resolution using Deep Internal Learning, CVPR 2018, https://arxiv.org/abs/1712.06087. Here the network
works on squares of 2 x 2 pixels packed into channels, which is four times as fast.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srcli.imaging.pixels import Pixels
from srcli.methods.classical.ibp import back_project
from srcli.methods.classical.networks import orient, seed_torch, to_batch, to_pixels, undo_orient
from srcli.methods.classical.operators import Reduction, Values
from srcli.methods.classical.problem import Problem, make_fathers, make_son
from srcli.methods.classical.settings import Clock

LAYERS, FEATURES = 6, 48
STEPS = 1000
BATCH, CROP = 4, 64
RATE, LAST_RATE, _WARM = 1e-3, 1e-5, 0.05
# Sons are not made smaller than this; the scale to learn is reduced instead.
SMALLEST = 8
# Share of the time for training; the rest is for the result itself.
_TRAINING = 0.9

Pair = tuple[Tensor, Tensor]


class Network(nn.Module):
    """Predicts the details missing in (N, C, H, W), H and W even."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [4 * channels, *[FEATURES] * (LAYERS - 1), 4 * channels]
        layers = [nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.constant_(cast(Tensor, layer.bias), 0)
        nn.init.zeros_(layers[-1].weight)  # nothing is missing, to begin with
        self.body = nn.ModuleList(layers)

    def forward(self, batch: Tensor) -> Tensor:
        """Return the same size."""
        x = F.pixel_unshuffle(batch, 2) - 0.5
        for number, layer in enumerate(self.body, 1):
            x = layer(x) if number == len(self.body) else F.relu(layer(x))
        return F.pixel_shuffle(x, 2)


def solve(problem: Problem) -> Values:
    """Train a network, and return the image (H, W, C) that it makes."""
    problem.check_sides(2 * SMALLEST)
    reduction = problem.reduction
    training, rest = problem.clock.part(_TRAINING)
    with seed_torch(problem.seed, problem.device):
        network = train_network(make_pairs(problem), problem, training)
    start = to_batch(_upscale_start(problem.small, reduction), problem.device)
    return back_project(to_pixels(_add_details(network, start)), problem.small, reduction, rest)


def make_pairs(problem: Problem) -> list[Pair]:
    """Return pairs of a son, enlarged to its father's size, and the father, each (1, C, H, W)."""
    return [_make_pair(father, problem) for father in make_fathers(problem.small, 2 * SMALLEST)]


def _make_pair(father: Pixels, problem: Problem) -> Pair:
    small, reduction = make_son(father, problem, SMALLEST)
    return to_batch(_upscale_start(small, reduction), problem.device), to_batch(father, problem.device)


def _upscale_start(small: Pixels, reduction: Reduction) -> Values:
    return back_project(reduction.enlarge(small), small, reduction)


def train_network(known: Sequence[Pair], problem: Problem, clock: Clock) -> Network:
    """Train a network on the pairs, for as many steps as time allows."""
    channels = known[0][1].shape[1]
    network = Network(channels).to(problem.device)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    for done in clock.rounds(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = _schedule_rate(done)
        given, wanted = _draw_batch(known)
        optimiser.zero_grad()
        F.l1_loss(given + network(given), wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network


def _schedule_rate(done: float) -> float:
    """Return the learning rate: a linear warm-up, then a cosine."""
    return LAST_RATE + min(1, done / _WARM) * (RATE - LAST_RATE) * (1 + math.cos(math.pi * done)) / 2


def _draw_batch(known: Sequence[Pair]) -> Pair:
    """Draw crops of one pair, each in a random orientation."""
    given, wanted = known[_draw_index(len(known))]
    side = min(CROP, *given.shape[2:]) // 2 * 2
    crops = []
    for _ in range(BATCH):
        y, x = (_draw_index(length - side + 1) for length in given.shape[2:])
        k = _draw_index(8)
        crops.append([orient(both[..., y : y + side, x : x + side], k) for both in (given, wanted)])
    inputs, targets = zip(*crops, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def _draw_index(count: int) -> int:
    return int(torch.randint(count, ()).item())


@torch.inference_mode()
def _add_details(network: Network, start: Tensor) -> Tensor:
    """Add what is missing to `start`, as the mean over eight orientations."""
    height, width = start.shape[2:]
    even = F.pad(start, (0, width % 2, 0, height % 2), mode="replicate")
    missing = torch.stack([undo_orient(network(orient(even, k)), k) for k in range(8)]).mean(0)
    return start + missing[..., :height, :width]
