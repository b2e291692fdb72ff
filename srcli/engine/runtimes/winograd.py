"""Winograd convolution by NNPACK, which torch has but does not choose, for layers that are faster with it.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, https://arxiv.org/abs/1509.09308.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srcli.engine.device import count_threads
from srcli.engine.measurements import describe_machine, measure_once

_SIDE, _ROUNDS = 96, 5
# It has to be this many times as fast to be worth leaving the memory layout that is fast elsewhere.
_MIN_GAIN = 1.1


class Winograd(nn.Module):
    """A 3x3 convolution with a border of zeros, with the weights of the layer that it replaces."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        is_available()
        self.weight = nn.Parameter(conv.weight.detach().contiguous(), requires_grad=False)
        self.bias = conv.bias

    def forward(self, batch: Tensor) -> Tensor:
        """Return (N, C', H, W) for (N, C, H, W)."""
        out: Tensor = torch._nnpack_spatial_convolution(
            batch.contiguous(), self.weight, self.bias, [1, 1], [1, 1]
        )
        return out


def is_available() -> bool:
    """Return whether this processor has NNPACK; asking initialises it, and it does nothing before."""
    # The only private symbol of torch in the engine: there is no public way to choose NNPACK for a layer.
    if not hasattr(torch, "_nnpack_spatial_convolution"):
        return False
    return bool(torch.backends.nnpack.is_available())  # type: ignore[no-untyped-call]


def use_winograd(network: nn.Module, channels: int, name: str) -> bool:
    """Replace layers of a network, in place, if that makes it faster on this machine; return whether it did.

    The network then wants its tensors in torch's default layout. The verdict is kept under `name`.
    """
    parts = network.named_modules()
    layers = {key: part for key, part in parts if isinstance(part, nn.Conv2d) and _is_replaceable(part)}
    if not layers or not is_available():
        return False
    facts = ("winograd", name, torch.__version__, count_threads(), describe_machine())
    verdict = measure_once(facts, lambda: _try_layers(network, layers, channels))
    chosen = {key: layers[key] for key in layers if verdict.get(key)}
    if chosen:
        _replace(network, {key: Winograd(layer) for key, layer in chosen.items()})
    return bool(chosen)


def _is_replaceable(part: nn.Module) -> bool:
    return (
        type(part) is nn.Conv2d
        and (part.kernel_size, part.stride, part.dilation, part.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and part.padding == (1, 1)
        and part.padding_mode == "zeros"
    )


def _replace(network: nn.Module, parts: dict[str, nn.Module]) -> None:
    for key, part in parts.items():
        owner, _, leaf = key.rpartition(".")
        setattr(network.get_submodule(owner), leaf, part)


@torch.inference_mode()
def _try_layers(network: nn.Module, layers: dict[str, nn.Conv2d], channels: int) -> dict[str, float]:
    """Return 1 for each layer to replace: those faster alone, if the network is faster with all of them."""
    shapes = {key: (layer.out_channels, layer.in_channels) for key, layer in layers.items()}
    faster = {shape: _is_faster(*shape) for shape in set(shapes.values())}
    chosen = {key: layer for key, layer in layers.items() if faster[shapes[key]]}
    if not chosen:
        return {}
    batch = torch.rand(1, channels, _SIDE, _SIDE)
    plain = _time(lambda: network(batch.contiguous(memory_format=torch.channels_last)))
    _replace(network, {key: Winograd(layer) for key, layer in chosen.items()})
    try:
        winograd = _time(lambda: network(batch))
    finally:
        _replace(network, dict(chosen))
    return dict.fromkeys(chosen, 1.0) if plain > _MIN_GAIN * winograd else {}


def _is_faster(outputs: int, inputs: int) -> bool:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    batch = torch.rand(1, inputs, _SIDE, _SIDE)
    last = batch.contiguous(memory_format=torch.channels_last)
    weight = layer.weight.contiguous(memory_format=torch.channels_last)
    winograd = Winograd(layer)
    plain = _time(lambda: F.conv2d(last, weight, layer.bias, padding=1))
    return plain > _MIN_GAIN * _time(lambda: winograd(batch))


def _time(run: Callable[[], Tensor]) -> float:
    """Return the seconds that a run takes, the best of a few."""
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best
