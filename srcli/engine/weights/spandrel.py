"""Networks that sr does not have, run by spandrel if that is installed. https://github.com/chaiNNer-org/spandrel"""

from typing import TYPE_CHECKING, Any

from srcli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

# How far such a network looks around a pixel is unknown, so tiles overlap by this much.
OVERLAP = 32


def identify_network(state: "dict[str, Tensor]", why: str) -> "tuple[nn.Module, int]":
    """Return the network that spandrel finds for these tensors, and its scale.

    Raises `WeightsError`, whose message starts with `why`, if spandrel is missing or knows no such network.
    """
    try:
        import spandrel
    except ImportError as error:
        raise WeightsError(
            why, "`pip install 'sr-cli[spandrel]'` adds networks; or ask `sr models info`"
        ) from error
    try:
        found = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError as error:
        raise WeightsError(f"{why}, nor any in spandrel", "`sr models info` shows what is in it") from error
    if getattr(found, "purpose", "") != "SR" or found.input_channels != found.output_channels:
        raise WeightsError(
            f"{why}; spandrel identifies it as {found.architecture.name}, not as an upscaler", "give another"
        )
    return _adapt(found), int(found.scale)


def describe_knowledge(state: "dict[str, Tensor]") -> str:
    """Return what spandrel takes tensors for, in a line; or how to install it."""
    try:
        import spandrel
    except ImportError:
        return "spandrel, which knows more networks, is not installed: `pip install 'sr-cli[spandrel]'`"
    try:
        found = spandrel.ModelLoader("cpu").load_from_state_dict(dict(state))
    except (spandrel.UnsupportedModelError, RuntimeError, ValueError, LookupError):
        return "spandrel does not know it either"
    return (
        f"spandrel knows it as {found.architecture.name} x{found.scale}; `sr upscale -w` runs it by spandrel"
    )


def _adapt(found: Any) -> "nn.Module":
    from torch import nn

    class SpandrelAdapter(nn.Module):
        """A spandrel descriptor with the two attributes that a runtime needs."""

        def __init__(self) -> None:
            super().__init__()
            self.network = found.model
            self.channels = int(found.input_channels)
            self.halo = OVERLAP

        def forward(self, batch: "Tensor") -> "Tensor":
            """Upscale (N, C, H, W) in [0, 1]; spandrel pads to sizes that the network can take."""
            out: Tensor = found(batch)
            return out

    return SpandrelAdapter()
