"""Initialisation of weights by a recipe instead of the network itself, such as `he=0.1`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srcli.archs.blocks import IdentityPath
from srcli.errors import UsageError
from srcli.train.text import parse_positive

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
# What the network's own code does; and that with an enlargement by repeated pixels to begin with.
OWN, IDENTITY = "own", "identity"
NAMES = (OWN, IDENTITY, *SCHEMES)


@dataclass(frozen=True)
class Initial:
    """The name of a scheme, and its scale."""

    scheme: str = OWN
    scale: float = 1.0


def parse(text: str) -> Initial:
    """Read `own`, `identity`, or a scheme's name, with `=SCALE` behind it or without."""
    name, sign, number = text.partition("=")
    if name not in NAMES:
        raise UsageError(f"no initial weights called '{name}'", f"there are: {', '.join(NAMES)}")
    return Initial(name, parse_positive(name, number, "he=0.1") if sign else 1.0)


@torch.no_grad()
def initialise(network: nn.Module, initial: Initial) -> None:
    """Fill the weights of all layers, and their biases with zeros.

    Raises `UsageError` for `identity` where a network doesn't say which layers lead straight through it.
    """
    if initial.scheme == IDENTITY:
        _pass_through(network)
        return
    if initial.scheme == OWN:
        return
    for layer in network.modules():
        if isinstance(layer, _LAYERS):
            SCHEMES[initial.scheme](layer.weight, initial.scale)
            if layer.bias is not None:
                layer.bias.zero_()


def _pass_through(network: nn.Module) -> None:
    """Make the first features the colours, which pass unchanged, and let the branches add nothing.

    Dirac's kernels on the way through, as of `torch.nn.init.dirac_`, repeated before pixels are shuffled
    (https://arxiv.org/abs/1707.02937), and residual branches that begin with 0
    (https://arxiv.org/abs/1706.02677, section 5.1). A thousand steps are too few to find this first.
    """
    if not hasattr(network, "identity_path"):
        raise UsageError("this network can't begin as an identity", f"there are: {OWN}, {', '.join(SCHEMES)}")
    way: IdentityPath = network.identity_path()  # type: ignore[operator]
    colours = way.layers[0][0].in_channels
    for layer, repeated in way.layers:
        _dirac(layer, colours, repeated)
    for branch in way.added:
        for parameter in branch.parameters(recurse=False):
            parameter.zero_()


def _dirac(layer: nn.Conv2d, colours: int, repeated: int) -> None:
    """Let the first features pass, each into `repeated` outputs; the other outputs stay as they are."""
    middle = layer.kernel_size[0] // 2
    for out in range(min(layer.out_channels, colours * repeated)):
        layer.weight[out] = 0
        layer.weight[out, out // repeated, middle, middle] = 1
        if layer.bias is not None:
            layer.bias[out] = 0
