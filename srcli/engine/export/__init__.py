"""Networks in the formats of other runtimes: written from torch, and compared with it."""

from typing import TYPE_CHECKING

from srcli.errors import SrError

if TYPE_CHECKING:
    from torch import nn


class Unexportable(SrError):  # noqa: N818 (it says what a network is)
    """A network that a format can't hold; the message names what it lacks."""


def check_undivided(network: "nn.Module") -> None:
    """Raise `Unexportable` for what has no graph of the same steps for every image."""
    if getattr(network, "any_scale", False):
        raise Unexportable("its scale is an input, and the file would be for one")
    parts = getattr(network, "works_in", "")
    if parts:
        raise Unexportable(f"it works in {parts}, and how many depends on the image")
