"""Networks in the formats of other runtimes: written from torch, and compared with it."""

from srcli.errors import SrError


class Unexportable(SrError):  # noqa: N818 (it says what a network is)
    """A network that a format can't hold; the message names what it lacks."""
