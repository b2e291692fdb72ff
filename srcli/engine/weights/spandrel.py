"""Networks that sr does not have, run by spandrel where it is installed. https://github.com/chaiNNer-org/spandrel"""

from typing import TYPE_CHECKING, Any

from srcli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

# What such a network sees around a pixel is not known: tiles overlap by this much.
OVERLAP = 32


def load(state: "dict[str, Tensor]", why: str) -> "tuple[nn.Module, int]":
    """The network that spandrel finds for these tensors, and its scale.

    Raises `WeightsError`, beginning with `why`, where there is no spandrel or it knows none.
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
        raise WeightsError(
            f"{why}, and none that spandrel knows", "`sr models info` says what is in it"
        ) from error
    if getattr(found, "purpose", "") != "SR" or found.input_channels != found.output_channels:
        raise WeightsError(
            f"{why}; spandrel takes it for {found.architecture.name}, not for enlarging", "give another"
        )
    return _adapted(found), int(found.scale)


def _adapted(found: Any) -> "nn.Module":
    from torch import nn

    class Adapted(nn.Module):
        """A spandrel descriptor with the two attributes that a runtime asks for."""

        def __init__(self) -> None:
            super().__init__()
            self.network = found.model
            self.channels = int(found.input_channels)
            self.halo = OVERLAP

        def forward(self, batch: "Tensor") -> "Tensor":
            """(N, C, H, W) in [0, 1], enlarged; spandrel pads to the sizes that the network can take."""
            out: Tensor = found(batch)
            return out

    return Adapted()
