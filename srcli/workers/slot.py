"""A place for one worker."""

from collections.abc import Mapping
from dataclasses import field

from srcli.dataclass import dataclass


@dataclass(frozen=True)
class Slot:
    """The device a worker uses, and the environment variables set before it imports anything."""

    device: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
