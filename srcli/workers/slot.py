"""A worker's place."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Slot:
    """Where a worker is: the device it is told to take, and what is set before it loads anything."""

    device: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
