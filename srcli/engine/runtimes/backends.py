"""Device backends of the torch runtime: their interface and the CPU's. `cuda` has the one for GPUs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.imaging.pixels import Pixels

# Waits for a download: (N, H, W, C).
Download = Callable[[], NDArray[Any]]
Forward = Callable[[Tensor], Tensor]


class DeviceBackend(Protocol):
    """A device as the torch runtime drives it. Work started on it is done in the order of starting."""

    @property
    def prefetch(self) -> int:
        """Batches to keep in progress besides the one that is waited for."""

    @property
    def uniform_tiles(self) -> bool:
        """True if tiles of one shape are worth reading some extra pixels for."""

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """Return tiles of one shape as (N, C, H, W) on the device, for work that is started afterwards."""

    def download(self, batch: Tensor) -> Download:
        """Start copying (N, C, H, W) back, as it is after the work started so far."""

    def capture(self, forward: Forward, batch: Tensor) -> Forward | None:
        """Return `forward` for batches of this shape as one step; None if the device has no such thing."""

    def reset_peak(self) -> int:
        """Return the most bytes allocated since the last call, less those allocated then; 0 if unknown."""

    def free_bytes(self) -> float:
        """Return the bytes that could still be allocated; infinite if unknown."""

    def synchronize(self) -> None:
        """Wait until all work is done."""


@dataclass
class CpuBackend:
    """The CPU, which does everything at once; or Apple's GPU, which has no streams to use."""

    name: str = "cpu"
    prefetch: int = 0
    uniform_tiles: bool = False

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """Return tiles of one shape as (N, C, H, W)."""
        return torch.from_numpy(np.stack(tiles)).to(self.name).permute(0, 3, 1, 2)

    def download(self, batch: Tensor) -> Download:
        """Return a function that copies (N, C, H, W) back."""
        return lambda: batch.permute(0, 2, 3, 1).cpu().numpy()

    def capture(self, forward: Forward, batch: Tensor) -> Forward | None:
        """Return None: there are no graphs."""
        return None

    def reset_peak(self) -> int:
        """Return 0: unknown."""
        return 0

    def free_bytes(self) -> float:
        """Return infinity: unknown."""
        return float("inf")

    def synchronize(self) -> None:
        """Wait for Apple's GPU; the CPU has nothing to wait for."""
        if self.name == "mps":
            torch.mps.synchronize()
