"""What kinds of device have in common for the runtime, and what only some have: streams and graphs.

Rules of CUDA's streams, pinned memory and graphs: https://docs.pytorch.org/docs/stable/notes/cuda.html.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.engine.device import Device
from srcli.imaging.pixels import Pixels
from srcli.workers.progress import Log

# Of all threads one may record at a time, says PyTorch.
_RECORDING = Lock()
# Waits for what is brought back: (N, H, W, C).
Fetch = Callable[[], NDArray[Any]]
Forward = Callable[[Tensor], Tensor]


class DeviceBackend(Protocol):
    """A device as the runtime drives it. What is begun on it is done in the order in which it was."""

    @property
    def ahead(self) -> int:
        """How many batches to have under way beside the one that is waited for."""

    @property
    def uniform_tiles(self) -> bool:
        """Whether tiles of one shape are worth some pixels more."""

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """Tiles of one shape as (N, C, H, W) on the device, for what is begun after it."""

    def fetch(self, batch: Tensor) -> Fetch:
        """Begin to bring back (N, C, H, W), as it is after all that was begun before."""

    def record(self, forward: Forward, batch: Tensor) -> Forward | None:
        """`forward` on batches of this shape, as one step; None where the device has no such thing."""

    def held(self) -> int:
        """Bytes that were taken at most since this was asked last, less those taken then; 0: not known."""

    def free(self) -> float:
        """Bytes that could still be taken; infinite where that is not known."""

    def wait(self) -> None:
        """Until all that was begun is done."""


@dataclass
class CpuBackend:
    """The processor, which does all at once; or Apple's GPU, which has no streams to be told of."""

    name: str = "cpu"
    ahead: int = 0
    uniform_tiles: bool = False

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """See `DeviceBackend`."""
        return torch.from_numpy(np.stack(tiles)).to(self.name).permute(0, 3, 1, 2)

    def fetch(self, batch: Tensor) -> Fetch:
        """See `DeviceBackend`."""
        return lambda: batch.permute(0, 2, 3, 1).cpu().numpy()

    def record(self, forward: Forward, batch: Tensor) -> Forward | None:
        """See `DeviceBackend`."""
        return None

    def held(self) -> int:
        """See `DeviceBackend`."""
        return 0

    def free(self) -> float:
        """See `DeviceBackend`."""
        return float("inf")

    def wait(self) -> None:
        """See `DeviceBackend`."""
        if self.name == "mps":
            torch.mps.synchronize()


@dataclass
class CudaBackend:
    """A GPU: copies in both directions on streams of their own, beside the stream that computes."""

    index: int
    limit: float = float("inf")
    ahead: int = 2
    uniform_tiles: bool = True
    up: torch.cuda.Stream = field(init=False)
    down: torch.cuda.Stream = field(init=False)
    before: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.up, self.down = _stream(self.index), _stream(self.index)

    @property
    def here(self) -> torch.cuda.Stream:
        """The stream that computes."""
        return torch.cuda.current_stream(self.index)

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """See `DeviceBackend`."""
        staged = torch.empty((len(tiles), *tiles[0].shape), pin_memory=True)
        for place, tile in zip(staged.numpy(), tiles, strict=True):
            place[...] = tile
        with torch.cuda.stream(self.up):
            batch = staged.to(torch.device("cuda", self.index), non_blocking=True)
        self.here.wait_stream(self.up)
        batch.record_stream(self.here)
        return batch.permute(0, 3, 1, 2)

    def fetch(self, batch: Tensor) -> Fetch:
        """See `DeviceBackend`."""
        batch = batch.permute(0, 2, 3, 1).contiguous()
        staged = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
        self.down.wait_stream(self.here)
        with torch.cuda.stream(self.down):
            staged.copy_(batch, non_blocking=True)
        batch.record_stream(self.down)
        done = self.down.record_event()

        def fetched() -> NDArray[Any]:
            done.synchronize()
            return staged.numpy()

        return fetched

    def record(self, forward: Forward, batch: Tensor) -> Forward | None:
        """See `DeviceBackend`. The graph reads and writes fixed memory, so all is copied in and out."""
        with _RECORDING, torch.cuda.device(self.index), _best_algorithms():
            given, side = batch.clone(), _stream(self.index)
            side.wait_stream(self.here)
            with torch.cuda.stream(side):
                for _ in range(3):
                    forward(given)
            self.here.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                made = forward(given)

        def replay(batch: Tensor) -> Tensor:
            given.copy_(batch)
            graph.replay()
            return made.clone()

        return replay

    def held(self) -> int:
        """See `DeviceBackend`."""
        most, before = torch.cuda.max_memory_allocated(self.index), self.before
        torch.cuda.reset_peak_memory_stats(self.index)
        self.before = torch.cuda.memory_allocated(self.index)
        return most - before

    def free(self) -> float:
        """See `DeviceBackend`."""
        taken, kept = torch.cuda.memory_allocated(self.index), torch.cuda.memory_reserved(self.index)
        free, _ = torch.cuda.mem_get_info(self.index)
        return min(free + kept, self.limit) - taken

    def wait(self) -> None:
        """See `DeviceBackend`."""
        torch.cuda.synchronize(self.index)


def _stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


@contextmanager
def _best_algorithms() -> Iterator[None]:
    """Have cuDNN try out its algorithms for each shape it meets, which pays for shapes that come again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def select_backend(device: Device, vram: int | None = None) -> DeviceBackend:
    """What drives a device, which takes no more than `vram` bytes of a GPU's memory for tensors."""
    place = torch.device(device.name)
    if place.type == "cuda":
        index = torch.cuda.current_device() if place.index is None else place.index
        total = torch.cuda.get_device_properties(index).total_memory
        limit = min(total, vram or total)
        if vram:
            torch.cuda.set_per_process_memory_fraction(limit / total, index)
        return CudaBackend(index, limit)
    if place.type == "mps":
        if vram:
            share = vram / torch.mps.recommended_max_memory()
            torch.mps.set_per_process_memory_fraction(min(1.0, share))
        return CpuBackend(device.name, ahead=1, uniform_tiles=True)
    return CpuBackend(device.name)


# A shape has to come so often, and to have taken so many seconds, before it is tried to record it: what a
# trial takes is then a small part of what was done anyway. Memory for so many is held.
_OFTEN, _LONG, _MOST = 16, 2.0, 2
# What has to be won.
_GAIN = 1.05


@dataclass
class CudaGraphCache:
    """What is done to one shape again and again, recorded once where a trial shows that this is faster."""

    backend: DeviceBackend
    log: Log
    seen: Counter[tuple[int, ...]] = field(default_factory=Counter)
    since: dict[tuple[int, ...], float] = field(default_factory=dict)
    recorded: dict[tuple[int, ...], Forward] = field(default_factory=dict)

    def run(self, forward: Forward, batch: Tensor) -> Tensor:
        """`forward` of the batch. It has to be the same function each time."""
        shape = tuple(batch.shape)
        self.seen[shape] += 1
        began = self.since.setdefault(shape, time.perf_counter())
        if self.seen[shape] >= _OFTEN and time.perf_counter() - began >= _LONG:
            self.since[shape] = float("inf")  # never again
            self._try(forward, batch)
        return self.recorded.get(shape, forward)(batch)

    def forget(self) -> None:
        """Let go of what was recorded, and of the memory that it holds."""
        self.recorded.clear()

    def _try(self, forward: Forward, batch: Tensor) -> None:
        height, width = batch.shape[2:]
        what = f"{len(batch)} tiles of {width}x{height}"
        if len(self.recorded) >= _MOST:
            return None
        try:
            replay = self.backend.record(forward, batch)
        except torch.OutOfMemoryError:
            return self.log(f"no room to record {what} as a graph")
        except RuntimeError as error:
            return self.log(f"{what} can't be recorded as a graph: {str(error).splitlines()[0]}")
        if replay is None:
            return None
        plain, quick = (self._seconds(run, batch) for run in (forward, replay))
        if plain > _GAIN * quick:
            self.recorded[tuple(batch.shape)] = replay
        verdict = "used" if plain > _GAIN * quick else "not used"
        return self.log(f"{what} as a graph: {plain / quick:.2f} times as fast, {verdict}")

    def _seconds(self, run: Forward, batch: Tensor) -> float:
        """The best of a few."""
        best = float("inf")
        for _ in range(3):
            self.backend.wait()
            start = time.perf_counter()
            run(batch)
            self.backend.wait()
            best = min(best, time.perf_counter() - start)
        return best
