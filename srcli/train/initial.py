"""How a network's weights begin where a recipe does not leave that to the network: `he=0.1` and the like."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srcli.errors import UsageError
from srcli.train.text import positive

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _he(weight: Tensor, scale: float) -> None:
    """N(0, 2 / inputs), https://arxiv.org/abs/1502.01852, times `scale`."""
    nn.init.kaiming_normal_(weight)
    weight.mul_(scale)


def _normal(weight: Tensor, scale: float) -> None:
    """N(0, scale^2)."""
    nn.init.normal_(weight, std=scale)


def _orthogonal(weight: Tensor, scale: float) -> None:
    """Rows at right angles, https://arxiv.org/abs/1312.6120, times `scale`."""
    nn.init.orthogonal_(weight, scale)


SCHEMES: dict[str, Callable[[Tensor, float], None]] = {
    "he": _he,
    "normal": _normal,
    "orthogonal": _orthogonal,
}
# What the network's own code does.
OWN = "own"


@dataclass(frozen=True)
class Initial:
    """The name of a scheme, and its scale."""

    scheme: str = OWN
    scale: float = 1.0


def parse(text: str) -> Initial:
    """Read `own`, or a scheme's name, with `=SCALE` behind it or without."""
    name, sign, number = text.partition("=")
    if name != OWN and name not in SCHEMES:
        raise UsageError(f"no initial weights called '{name}'", f"there are: {OWN}, {', '.join(SCHEMES)}")
    return Initial(name, positive(name, number, "he=0.1") if sign else 1.0)


@torch.no_grad()
def initialise(network: nn.Module, initial: Initial) -> None:
    """Fill the weights of all layers, and their biases with zeros."""
    if initial.scheme == OWN:
        return
    for layer in network.modules():
        if isinstance(layer, _LAYERS):
            SCHEMES[initial.scheme](layer.weight, initial.scale)
            if layer.bias is not None:
                layer.bias.zero_()
