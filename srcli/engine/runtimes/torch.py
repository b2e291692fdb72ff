"""PyTorch on any device: the one place where pixels become batches and come back."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli.archs.blocks import GlobalStats, pool_stats
from srcli.engine.device import Device
from srcli.engine.runtimes.backends import CpuBackend, CudaGraphCache, DeviceBackend, select_backend
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.runtimes.batching import BatchLimit, Item, PendingBatch, area, in_order
from srcli.engine.tiles import DEFAULT_TILE
from srcli.imaging.pixels import Pixels
from srcli.scales import Window
from srcli.workers.progress import Log, ignore

# Pixels of a batch that keep a GPU busy; more of them would only come out later.
_ENOUGH = 2**19
# Of the memory that is free, for one batch: others are under way, and no measurement is exact.
_SHARE = 0.5
# Sides of the largest tile on a GPU, and of the one that shows what a pixel takes.
_LARGEST, _TRIED = 2048, 256


@dataclass
class Findings:
    """What was found out while running: how much fits, and whether half precision overflowed.

    `pixel_bytes`: what a pixel of a tile takes, once that was measured; 0 where the device does not say.
    """

    limit: BatchLimit = field(default_factory=BatchLimit)
    pixel_bytes: float | None = None
    overflowed: bool = False


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device. `scale` is that of the network's own tensors (1 if pre-upsampled), or `ANY`.

    `global_stats`: moments over the whole image, by the names of the modules they stand for; `why` it is
    torch that runs it, where there was a choice; `graphs`: what is to be recorded, where that may be;
    `returns_uint8`: see `ByteRuntime`.
    """

    network: nn.Module
    scale: int
    device: Device
    global_stats: Mapping[str, Tensor] = field(default_factory=dict)
    why: str = ""
    channels_last: bool = True
    backend: DeviceBackend = field(default_factory=CpuBackend)
    graphs: CudaGraphCache | None = None
    findings: Findings = field(default_factory=Findings)
    log: Log = ignore
    returns_uint8: bool = False

    @property
    def halo(self) -> int:
        """See `Runtime`."""
        return int(self.network.halo)  # type: ignore[arg-type]

    @property
    def alignment(self) -> int:
        """See `Runtime`."""
        return int(getattr(self.network, "alignment", 1))

    @property
    def uniform_tiles(self) -> bool:
        """See `Runtime`."""
        return self.backend.uniform_tiles

    @property
    def channels(self) -> int:
        """See `Runtime`."""
        return int(self.network.channels)  # type: ignore[arg-type]

    @property
    def params(self) -> int:
        """See `Runtime`."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def description(self) -> str:
        """See `Runtime`."""
        return f"{self.device}, by torch ({self.why})" if self.why else str(self.device)

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "TorchRuntime":
        """See `Runtime`.

        What is found is near the image's, not equal: each mean depends on those before it, and what is in
        two tiles counts twice.
        """
        named = {name: part for name, part in self.network.named_modules() if isinstance(part, GlobalStats)}
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
        return replace(
            self, global_stats={name: pool_stats(counts, moments) for name, moments in seen.items()}
        )

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        return self._in_order((tile,) for tile in tiles)

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """See `Sampler`."""
        return self._in_order(tiles)

    def _in_order(self, items: Iterable[Item]) -> Iterator[Pixels]:
        return in_order(items, self._submit, self.findings.limit, self.backend.ahead)

    def _submit(self, items: Sequence[Item]) -> PendingBatch:
        """Begin a batch; what is returned waits for its results."""
        pixels, limit = area(items[0]), self.findings.limit
        if pixels >= limit.too_large:
            raise self._full(items)
        unknown = self.backend.uniform_tiles and self.findings.pixel_bytes is None
        with self._full_told(items):
            if unknown:
                self.backend.held()
            pending = self._begun(self.backend.upload([item[0] for item in items]), *items[0][1:])
            if unknown:
                self.findings.pixel_bytes = self.backend.held() / len(items) / pixels
                limit.pixels = min(_ENOUGH, self._fitting(self.findings.pixel_bytes))

        def wait() -> Iterable[Pixels]:
            with self._full_told(items):
                return pending()

        return wait

    def _fitting(self, pixel_bytes: float) -> float:
        """How many pixels there is memory for."""
        return _SHARE * self.backend.free() / pixel_bytes if pixel_bytes else math.inf

    def largest_tile(self, tile: int) -> int:
        """See `Runtime`. On a GPU that says what it takes, as large as fits in, if none was asked for."""
        if not self.backend.uniform_tiles or tile != DEFAULT_TILE:
            return tile
        if self.findings.pixel_bytes is None:
            with suppress(OutOfMemory):  # then it is smaller tiles anyway
                next(self.run([np.zeros((_TRIED, _TRIED, self.channels), np.float32)]))
        if not self.findings.pixel_bytes:
            return tile
        side = int(min(_LARGEST**2, self._fitting(self.findings.pixel_bytes)) ** 0.5) - 2 * self.halo
        return max(tile, side)

    def as_uint8(self) -> "TorchRuntime | None":
        """See `ByteRuntime`."""
        return replace(self, returns_uint8=True) if self.backend.uniform_tiles else None

    def _begun(self, batch: Tensor, *window: Window) -> PendingBatch:
        """What comes out in half precision is looked at when it is there, and done again if it overflowed."""
        half = self.device.dtype != "float32" and not self.findings.overflowed
        out = self._once(batch, *window, half=half)
        if not half:
            return self.backend.fetch(self._rounded(out))
        total = self.backend.fetch(out.sum().view(1, 1, 1, 1))
        fetched = self.backend.fetch(self._rounded(out))

        def pending() -> Iterable[Pixels]:
            if np.isfinite(total()).all():
                return fetched()
            if not self.findings.overflowed:
                self.log(f"{self.device.dtype} overflows: from now on in float32")
            self.findings.overflowed = True
            return self.backend.fetch(self._rounded(self._once(batch, *window, half=False)))()

        return pending

    @torch.inference_mode()
    def _once(self, batch: Tensor, *window: Window, half: bool) -> Tensor:
        """Through the network; recorded, where it is always the same that is done."""
        if self.graphs is None or window or self.global_stats or half != (self.device.dtype != "float32"):
            return self._forward(batch, *window, half=half)
        return self.graphs.run(partial(self._forward, half=half), batch)

    def _forward(self, batch: Tensor, *window: Window, half: bool) -> Tensor:
        batch = batch.contiguous(memory_format=_layout(self.channels_last))
        dtype = getattr(torch, self.device.dtype) if half else None
        # Weights that autocast keeps would be those of a graph's own memory.
        cast = torch.autocast(batch.device.type, dtype=dtype, enabled=half, cache_enabled=False)
        with _hooked(self._told, lambda name, found: self.global_stats[name].to(found)), _EXACT, cast:
            out: Tensor = self.network(batch, *window)
        return out.float()

    @torch.inference_mode()
    def _rounded(self, out: Tensor) -> Tensor:
        """Step by step what `quantise` does, which a fused multiplication and addition would not."""
        if not self.returns_uint8:
            return out
        return out.clamp(0, 1).mul_(255).add_(0.5).floor_().to(torch.uint8)

    @contextmanager
    def _full_told(self, items: Sequence[Item]) -> Iterator[None]:
        """Raise `OutOfMemory` for torch's own."""
        try:
            yield
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if self.graphs:
                self.graphs.forget()
            raise self._full(items) from error

    def _full(self, items: Sequence[Item]) -> OutOfMemory:
        height, width = items[0][0].shape[:2]
        what = (
            f"a tile of {width}x{height} does" if len(items) == 1 else f"{len(items)} of {width}x{height} do"
        )
        words = f"{what} not fit into the memory of {self.device.name}"
        return OutOfMemory(words, "close other programs, or use --device cpu")

    @property
    def _told(self) -> dict[str, nn.Module]:
        return {name: self.network.get_submodule(name) for name in self.global_stats}


@contextmanager
def _hooked(parts: Mapping[str, nn.Module], answer: Callable[[str, Tensor], Tensor | None]) -> Iterator[None]:
    """`answer` is told what each part gives, by name; what it says, if anything, takes its place."""

    def hook(name: str, part: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        return answer(name, output)

    with ExitStack() as hooks:
        for name, part in parts.items():
            hooks.enter_context(part.register_forward_hook(partial(hook, name)))
        yield


class _Exact:
    """Within, single precision is what it says, also where a GPU would rather round to ten bits (TF32).

    The settings are those of the process: the last of several threads that leaves puts them back.
    """

    def __init__(self) -> None:
        self.lock, self.within = Lock(), 0
        self.before: list[bool] = []

    def __enter__(self) -> None:
        with self.lock:
            self.within += 1
            if self.within == 1:
                self.before = [place.allow_tf32 for place in _TF32]
                for place in _TF32:
                    place.allow_tf32 = False

    def __exit__(self, *reason: object) -> None:
        with self.lock:
            self.within -= 1
            if self.within == 0:
                for place, allowed in zip(_TF32, self.before, strict=True):
                    place.allow_tf32 = allowed


_TF32: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
_EXACT = _Exact()


def _out_of_memory(error: RuntimeError) -> bool:
    """By its kind on a GPU; the allocators of the CPU and of MPS have none, and are told by their names."""
    named = ("DefaultCPUAllocator", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(name in str(error) for name in named)


def prepare(
    network: nn.Module,
    scale: int,
    device: Device,
    why: str = "",
    *,
    channels_last: bool = True,
    backend: DeviceBackend | None = None,
    log: Log = ignore,
) -> TorchRuntime:
    """The network in evaluation mode on its device, in the memory layout that is fast there."""
    layout = _layout(channels_last)
    placed = network.eval().to(device.name, memory_format=layout)  # type: ignore[call-overload]
    backend = backend or select_backend(device)
    # Moments are put in by hooks, which what is recorded would leave out.
    varies = any(isinstance(part, GlobalStats) for part in placed.modules())
    graphs = None if varies else CudaGraphCache(backend, log)
    return TorchRuntime(
        placed, scale, device, why=why, channels_last=channels_last, backend=backend, graphs=graphs, log=log
    )


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def to_batch(pixels: Pixels) -> Tensor:
    """(H, W, C) to (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


def to_pixels(batch: Tensor) -> Pixels:
    """(1, C, H, W) to (H, W, C)."""
    return batch[0].permute(1, 2, 0).cpu().numpy()
