"""PyTorch on any device: the one place where pixels become batches and come back."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli.archs.blocks import Moments, pooled
from srcli.engine.device import Device
from srcli.engine.runtimes import OutOfMemory
from srcli.imaging.pixels import Pixels
from srcli.scales import Window


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device. `scale` is that of the network's own tensors (1 if pre-upsampled), or `ANY`.

    `known`: moments over the whole image, by the names of the modules they stand for; `why` it is
    torch that runs it, where there was a choice.
    """

    network: nn.Module
    scale: int
    device: Device
    known: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""
    channels_last: bool = True

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

    def surveyed(self, tiles: Iterable[Pixels]) -> "TorchRuntime":
        """See `Runtime`.

        What is found is near the image's, not equal: each mean depends on those before it, and what is in
        two tiles counts twice.
        """
        named = {name: part for name, part in self.network.named_modules() if isinstance(part, Moments)}
        if not named:
            return self
        counts, latest = [], dict[str, Tensor]()
        seen: dict[str, list[Tensor]] = {name: [] for name in named}
        with _hooked(named, latest.__setitem__):
            for tile in tiles:
                next(self.run([tile]))
                counts.append(tile.shape[0] * tile.shape[1])
                for name, moments in latest.items():
                    seen[name].append(moments)
        return replace(self, known={name: pooled(counts, moments) for name, moments in seen.items()})

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        for tile in tiles:
            yield self._enlarged(tile)

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """See `Sampler`."""
        for tile, window in tiles:
            yield self._enlarged(tile, window)

    def _enlarged(self, tile: Pixels, *window: Window) -> Pixels:
        try:
            return to_pixels(self._forward(to_batch(tile).to(self.device.name), *window))
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            size = f"{tile.shape[1]}x{tile.shape[0]}"
            raise OutOfMemory(
                f"a tile of {size} does not fit into the memory of {self.device.name}",
                "close other programs, or use --device cpu",
            ) from error

    @torch.inference_mode()
    def _forward(self, batch: Tensor, *window: Window) -> Tensor:
        """In the device's precision; again in single precision where half overflowed."""
        batch = batch.contiguous(memory_format=_layout(self.channels_last))
        kind, dtype = self.device.name.split(":")[0], getattr(torch, self.device.dtype)
        with _hooked(self._told, lambda name, found: self.known[name].to(found)):
            with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
                out: Tensor = self.network(batch, *window).float()
            if dtype is not torch.float32 and not torch.isfinite(out).all():
                out = self.network(batch, *window)
        return out

    @property
    def _told(self) -> dict[str, nn.Module]:
        return {name: self.network.get_submodule(name) for name in self.known}


@contextmanager
def _hooked(parts: Mapping[str, nn.Module], answer: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    """`answer` is told what each part gives, by name; what it says, if anything, takes its place."""

    def hook(name: str, part: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        return answer(name, output)

    with ExitStack() as hooks:
        for name, part in parts.items():
            hooks.enter_context(part.register_forward_hook(partial(hook, name)))
        yield


def _out_of_memory(error: RuntimeError) -> bool:
    """By its kind on a GPU; the allocator of the CPU has none, and can only be told by its name."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def prepare(
    network: nn.Module, scale: int, device: Device, why: str = "", *, channels_last: bool = True
) -> TorchRuntime:
    """The network in evaluation mode on its device, in the memory layout that is fast there."""
    layout = _layout(channels_last)
    placed = network.eval().to(device.name, memory_format=layout)  # type: ignore[call-overload]
    return TorchRuntime(placed, scale, device, why=why, channels_last=channels_last)


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def to_batch(pixels: Pixels) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


def to_pixels(batch: Tensor) -> Pixels:
    """(1, C, H, W) to (H, W, C)."""
    return batch[0].permute(1, 2, 0).cpu().numpy()
