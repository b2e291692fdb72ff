"""Parameters and multiply-adds of networks, counted without computing anything."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srcli import archs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """The parameters of a network as it runs, biases included, and the multiply-adds for one image."""

    parameters: int
    multiply_adds: int


def count_cost(spec: archs.Spec, height: int = 720, width: int = 1280) -> Cost:
    """Return the cost of upscaling to `height` x `width` pixels; papers give it for 1280x720.

    Multiply-adds are those of convolutions and matrix products, as papers count them, without activations,
    normalisation and interpolation. A transposed convolution counts at the size of its input.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    # The counter would hang hooks on parameters that need gradients.
    network = _build_meta(spec).requires_grad_(requires_grad=False)
    step = spec.own_scale
    shape = (1, int(network.channels), round(height / step), round(width / step))  # type: ignore[arg-type]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.empty(shape, device="meta"))
    return Cost(_count_weights(network), counter.get_total_flops() // 2)


def count_parameters(spec: archs.Spec) -> int:
    """Return the parameters of the network as it runs, without what only training needs."""
    return _count_weights(_build_meta(spec))


def _build_meta(spec: archs.Spec) -> "nn.Module":
    """Build the network without values: tensors on torch's "meta" device have only shapes."""
    import torch

    with torch.device("meta"):
        network = archs.build(spec.arch, spec.scale, spec.config)
        return archs.deploy(spec.arch, spec.scale, spec.config, network)[0].eval()


def _count_weights(network: "nn.Module") -> int:
    return sum(value.numel() for value in network.parameters())
