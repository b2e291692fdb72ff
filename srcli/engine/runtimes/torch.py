"""PyTorch on any device: the one place where pixels become batches and come back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from srcli.engine.device import Device
from srcli.engine.runtimes import OutOfMemory
from srcli.imaging.pixels import Pixels


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device. `scale` is that of the network's own tensors (1 if pre-upsampled).

    `why` it is torch that runs it, where there was a choice.
    """

    network: nn.Module
    scale: int
    device: Device
    why: str = ""

    @property
    def halo(self) -> int:
        """See `Runtime`."""
        return int(self.network.halo)  # type: ignore[arg-type]

    @property
    def align(self) -> int:
        """See `Runtime`."""
        return int(getattr(self.network, "aligned", 1))

    @property
    def channels(self) -> int:
        """See `Runtime`."""
        return int(self.network.channels)  # type: ignore[arg-type]

    @property
    def params(self) -> int:
        """See `Runtime`."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def where(self) -> str:
        """See `Runtime`."""
        return f"{self.device}, by torch ({self.why})" if self.why else str(self.device)

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        for tile in tiles:
            try:
                yield to_pixels(self._forward(to_batch(tile).to(self.device.name)))
            except torch.OutOfMemoryError as error:
                size = f"{tile.shape[1]}x{tile.shape[0]}"
                raise OutOfMemory(
                    f"a tile of {size} does not fit into the memory of {self.device.name}",
                    "close other programs, or use --device cpu",
                ) from error

    @torch.inference_mode()
    def _forward(self, batch: Tensor) -> Tensor:
        """In the device's precision; again in single precision where half overflowed."""
        batch = batch.contiguous(memory_format=torch.channels_last)
        kind, dtype = self.device.name.split(":")[0], getattr(torch, self.device.dtype)
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
            out: Tensor = self.network(batch).float()
        if dtype is not torch.float32 and not torch.isfinite(out).all():
            out = self.network(batch)
        return out


def prepare(network: nn.Module, scale: int, device: Device, why: str = "") -> TorchRuntime:
    """The network in evaluation mode on its device, in the memory layout that is fast there."""
    placed = network.eval().to(device.name, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TorchRuntime(placed, scale, device, why)


def to_batch(pixels: Pixels) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


def to_pixels(batch: Tensor) -> Pixels:
    """(1, C, H, W) to (H, W, C)."""
    return batch[0].permute(1, 2, 0).cpu().numpy()
