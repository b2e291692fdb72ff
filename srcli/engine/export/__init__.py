"""Networks written in other formats, each compared with torch. `formats` lists what `sr export` writes."""

from typing import TYPE_CHECKING

from srcli.errors import SrError

if TYPE_CHECKING:
    from torch import nn


class UnexportableError(SrError):
    """A network that a format cannot hold; the message says what the format lacks."""


def check_fixed_graph(network: "nn.Module") -> None:
    """Raise `UnexportableError` if the network does not take the same steps for every image."""
    if getattr(network, "any_scale", False):
        raise UnexportableError("its scale is an input, but a file has a fixed one")
    parts = getattr(network, "works_in", "")
    if parts:
        raise UnexportableError(f"it works in {parts}, whose number depends on the image")
