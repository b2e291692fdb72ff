"""Value ranges: what a network makes of pixels in [0, 1] before its first layer, and undoes after its last.

Each class has the range of its authors' files. Files of other trainers can have the same tensors and want
another range; for these a configuration has `values`, one of `RANGES`.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from srcli.archs.blocks import MeanShift
from srcli.errors import UsageError


@dataclass(frozen=True)
class ValueRange:
    """Pixels times `span`, plus `offset`, less `mean` times the mean colour of DIV2K."""

    span: float = 1.0
    mean: float = 0.0
    offset: float = 0.0


RANGES = {
    "0..1": ValueRange(),
    "0..255": ValueRange(255),
    "-1..1": ValueRange(2, offset=-1),
    "0..1 less mean": ValueRange(1, 1),
    "0..255 less mean": ValueRange(255, 255),
    # A mistake, but files of super-image were trained with it: [0, 1] less a mean of 0..255.
    "0..1 less 255 means": ValueRange(1, 255),
}


def read_value_range(network: nn.Module) -> ValueRange:
    """Return the range that a network converts to; [0, 1] if it does not say."""
    shift = getattr(network, "shift", None)
    return ValueRange(shift.span, shift.mean, shift.offset) if isinstance(shift, MeanShift) else ValueRange()


def set_value_range(network: nn.Module, values: str) -> nn.Module:
    """Have a network convert to another range than that of its class; its tensors keep their names.

    Raises `UsageError` for values that are not in `RANGES`.
    """
    if values not in RANGES:
        raise UsageError(f"no values called '{values}'", f"known: {', '.join(RANGES)}")
    wanted = RANGES[values]
    if not isinstance(getattr(network, "shift", None), MeanShift):
        network.__class__ = _convert_class(type(network))  # type: ignore[arg-type]
    channels = int(network.channels)  # type: ignore[arg-type]
    network.shift = MeanShift(wanted.span, wanted.mean, wanted.offset, channels)
    return network


@cache
def _convert_class(base: type[Any]) -> type[Any]:
    """Return a subclass: a module around the network would have neither its attributes nor its keys."""

    class Converted(base):  # type: ignore[misc]
        """The network on values of another range."""

        def forward(self, batch: Tensor, *window: Any) -> Tensor:
            """Run the network on converted values."""
            out: Tensor = self.shift.leave(super().forward(self.shift.enter(batch), *window))
            return out

    Converted.__name__ = base.__name__
    return Converted
