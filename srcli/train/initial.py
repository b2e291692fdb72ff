"""Initial weights that a recipe sets instead of the network, such as `he=0.1`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srcli.archs.blocks import IdentityPath
from srcli.datasets import parse_weight
from srcli.errors import UsageError

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def _he(weight: Tensor, scale: float) -> None:
    """Draw from N(0, 2 / inputs), https://arxiv.org/abs/1502.01852, times `scale`."""
    nn.init.kaiming_normal_(weight)
    weight.mul_(scale)


def _normal(weight: Tensor, scale: float) -> None:
    """Draw from N(0, scale^2)."""
    nn.init.normal_(weight, std=scale)


def _orthogonal(weight: Tensor, scale: float) -> None:
    """Draw orthogonal rows, https://arxiv.org/abs/1312.6120, times `scale`."""
    nn.init.orthogonal_(weight, scale)


SCHEMES: dict[str, Callable[[Tensor, float], None]] = {
    "he": _he,
    "normal": _normal,
    "orthogonal": _orthogonal,
}
# The network's own initialisation, and one with which it starts as nearest-neighbour upscaling.
OWN, IDENTITY = "own", "identity"
NAMES = (OWN, IDENTITY, *SCHEMES)


@dataclass(frozen=True)
class Initial:
    """The name of a scheme, and its scale."""

    scheme: str = OWN
    scale: float = 1.0


def parse(text: str) -> Initial:
    """Parse `own`, `identity`, or the name of a scheme, optionally followed by `=SCALE`."""
    name, sign, number = text.partition("=")
    if name not in NAMES:
        raise UsageError(f"no initialisation called '{name}'", f"there are: {', '.join(NAMES)}")
    return Initial(name, parse_weight(name, number, "he=0.1") if sign else 1.0)


@torch.no_grad()
def initialise(network: nn.Module, initial: Initial) -> None:
    """Fill the weights of all layers, and their biases with zeros.

    Raises `UsageError` for `identity` if the network does not define an identity path.
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

    Layers on the path get Dirac kernels, as in `torch.nn.init.dirac_`, repeated before the pixel shuffle
    (https://arxiv.org/abs/1707.02937); residual branches start at 0
    (https://arxiv.org/abs/1706.02677, section 5.1). A thousand steps are too few to learn this.
    """
    if not hasattr(network, "identity_path"):
        raise UsageError(
            "this network cannot be initialised as an identity", f"there are: {OWN}, {', '.join(SCHEMES)}"
        )
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
