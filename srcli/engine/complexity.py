"""What a network costs: its parameters, and the multiply-adds of one image; nothing is computed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srcli import archs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """`count_parameters`: of the network as it runs, biases and all; `multiply_adds`: for one image."""

    count_parameters: int
    multiply_adds: int


def count_cost(spec: archs.Spec, height: int = 720, width: int = 1280) -> Cost:
    """What enlarging to `height` x `width` pixels takes; papers give it for 1280x720.

    Multiply-adds are those of convolutions and matrix products, as papers count them: not of activations,
    normalisations or interpolation. A transposed convolution counts where it reads, at its input.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _shapes(spec).requires_grad_(requires_grad=False)  # the counter would hang hooks on parameters
    step = 1 if archs.traits(spec.arch).pre_upsampled else spec.scale
    shape = (1, int(network.channels), round(height / step), round(width / step))  # type: ignore[arg-type]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.empty(shape, device="meta"))
    return Cost(_size(network), counter.get_total_flops() // 2)


def count_parameters(spec: archs.Spec) -> int:
    """Of the network as it runs: without what only training needs."""
    return _size(_shapes(spec))


def _shapes(spec: archs.Spec) -> "nn.Module":
    """The network without values: tensors on torch's "meta" device have shapes only."""
    import torch

    with torch.device("meta"):
        network = archs.build(spec.arch, spec.scale, spec.config)
        return archs.deploy(spec.arch, spec.scale, spec.config, network)[0].eval()


def _size(network: "nn.Module") -> int:
    return sum(value.numel() for value in network.parameters())
