"""Winograd's convolution by NNPACK, which torch has but does not choose, for layers that gain by it.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, https://arxiv.org/abs/1509.09308.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.engine import calibration
from srcli.engine.device import threads

_SIDE, _ROUNDS = 96, 5
# What has to be won to leave the layout that is fast elsewhere.
_GAIN = 1.1


class Winograd(nn.Module):
    """A 3x3 convolution with a border of zeros; takes its weights over from the layer it stands for."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        available()
        self.weight = nn.Parameter(conv.weight.detach().contiguous(), requires_grad=False)
        self.bias = conv.bias

    def forward(self, batch: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        out: Tensor = torch._nnpack_spatial_convolution(
            batch.contiguous(), self.weight, self.bias, [1, 1], [1, 1]
        )
        return out


def available() -> bool:
    """Whether this processor has it; NNPACK is made ready by asking, and does nothing before."""
    return bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]


def use_winograd(network: nn.Module, channels: int, name: str) -> bool:
    """Exchange the layers of a network, which is changed, where that makes it faster here; whether it did.

    Then it wants its tensors in torch's default layout. What was found is kept for the network called `name`.
    """
    parts = network.named_modules()
    layers = {key: part for key, part in parts if isinstance(part, nn.Conv2d) and _fits(part)}
    if not layers or not available():
        return False
    facts = ("winograd", name, torch.__version__, threads(), calibration.machine())
    found = calibration.once(facts, lambda: _tried(network, layers, channels))
    chosen = {key: layers[key] for key in layers if found.get(key)}
    if chosen:
        _exchange(network, {key: Winograd(layer) for key, layer in chosen.items()})
    return bool(chosen)


def _fits(part: nn.Module) -> bool:
    return (
        type(part) is nn.Conv2d
        and (part.kernel_size, part.stride, part.dilation, part.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and part.padding == (1, 1)
        and part.padding_mode == "zeros"
    )


def _exchange(network: nn.Module, parts: dict[str, nn.Module]) -> None:
    for key, part in parts.items():
        owner, _, leaf = key.rpartition(".")
        setattr(network.get_submodule(owner), leaf, part)


@torch.inference_mode()
def _tried(network: nn.Module, layers: dict[str, nn.Conv2d], channels: int) -> dict[str, float]:
    """1 for each layer to be exchanged: those that win alone, if the network wins with all of them too."""
    shapes = {key: (layer.out_channels, layer.in_channels) for key, layer in layers.items()}
    wins = {shape: _wins(*shape) for shape in set(shapes.values())}
    chosen = {key: layer for key, layer in layers.items() if wins[shapes[key]]}
    if not chosen:
        return {}
    batch = torch.rand(1, channels, _SIDE, _SIDE)
    plain = _seconds(lambda: network(batch.contiguous(memory_format=torch.channels_last)))
    _exchange(network, {key: Winograd(layer) for key, layer in chosen.items()})
    try:
        quick = _seconds(lambda: network(batch))
    finally:
        _exchange(network, dict(chosen))
    return dict.fromkeys(chosen, 1.0) if plain > _GAIN * quick else {}


def _wins(out: int, channels: int) -> bool:
    layer = nn.Conv2d(channels, out, 3, padding=1)
    batch = torch.rand(1, channels, _SIDE, _SIDE)
    last = batch.contiguous(memory_format=torch.channels_last)
    weight = layer.weight.contiguous(memory_format=torch.channels_last)
    winograd = Winograd(layer)
    plain = _seconds(lambda: F.conv2d(last, weight, layer.bias, padding=1))
    return plain > _GAIN * _seconds(lambda: winograd(batch))


def _seconds(run: Callable[[], Tensor]) -> float:
    """The best of a few."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
