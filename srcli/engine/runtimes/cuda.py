"""CUDA for the torch runtime: copies on streams of their own, and graphs of what is repeated.

The rules for streams, pinned memory and graphs: https://docs.pytorch.org/docs/stable/notes/cuda.html.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from srcli.engine.runtimes.backends import DeviceBackend, Download, Forward
from srcli.imaging.pixels import Pixels
from srcli.workers.progress import Log

# PyTorch allows one thread at a time to capture.
_CAPTURE = Lock()
# A shape has to come this often, and for this many seconds, before a graph of it is tried: the trial is then
# a small part of the whole.
_MIN_RUNS, _MIN_SECONDS = 16, 2.0
# Each graph holds the memory of its batch.
_MAX_GRAPHS = 2
# A graph is used if it is this many times as fast.
_MIN_GAIN = 1.05


@dataclass
class CudaBackend:
    """A GPU: copies in both directions run on streams of their own, while another stream computes."""

    index: int
    limit: float = float("inf")
    prefetch: int = 2
    uniform_tiles: bool = True
    up: torch.cuda.Stream = field(init=False)
    down: torch.cuda.Stream = field(init=False)
    allocated: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.up, self.down = _create_stream(self.index), _create_stream(self.index)

    @property
    def compute(self) -> torch.cuda.Stream:
        """The stream that computes."""
        return torch.cuda.current_stream(self.index)

    def upload(self, tiles: Sequence[Pixels]) -> Tensor:
        """Return tiles of one shape as (N, C, H, W) on the GPU, for work that is started afterwards."""
        staged = torch.empty((len(tiles), *tiles[0].shape), pin_memory=True)
        for target, tile in zip(staged.numpy(), tiles, strict=True):
            target[...] = tile
        with torch.cuda.stream(self.up):
            batch = staged.to(torch.device("cuda", self.index), non_blocking=True)
        self.compute.wait_stream(self.up)
        batch.record_stream(self.compute)
        return batch.permute(0, 3, 1, 2)

    def download(self, batch: Tensor) -> Download:
        """Start copying (N, C, H, W) back, as it is after the work started so far."""
        batch = batch.permute(0, 2, 3, 1).contiguous()
        staged = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
        self.down.wait_stream(self.compute)
        with torch.cuda.stream(self.down):
            staged.copy_(batch, non_blocking=True)
        batch.record_stream(self.down)
        done = self.down.record_event()

        def wait() -> NDArray[Any]:
            done.synchronize()
            return staged.numpy()

        return wait

    def capture(self, forward: Forward, batch: Tensor) -> Forward | None:
        """Return `forward` for batches of this shape as a graph.

        A graph reads and writes fixed memory, so batches are copied in and out.
        """
        with _CAPTURE, torch.cuda.device(self.index), _benchmark_algorithms():
            given, side = batch.clone(), _create_stream(self.index)
            side.wait_stream(self.compute)
            with torch.cuda.stream(side):
                for _ in range(3):
                    forward(given)
            self.compute.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                result = forward(given)

        def replay(batch: Tensor) -> Tensor:
            given.copy_(batch)
            graph.replay()
            return result.clone()

        return replay

    def reset_peak(self) -> int:
        """Return the most bytes allocated since the last call, less those allocated then."""
        peak, before = torch.cuda.max_memory_allocated(self.index), self.allocated
        torch.cuda.reset_peak_memory_stats(self.index)
        self.allocated = torch.cuda.memory_allocated(self.index)
        return peak - before

    def free_bytes(self) -> float:
        """Return the bytes that could still be allocated, within the limit."""
        allocated = torch.cuda.memory_allocated(self.index)
        reserved = torch.cuda.memory_reserved(self.index)
        free, _ = torch.cuda.mem_get_info(self.index)
        return min(free + reserved, self.limit) - allocated

    def synchronize(self) -> None:
        """Wait until all work is done."""
        torch.cuda.synchronize(self.index)


def _create_stream(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


@contextmanager
def _benchmark_algorithms() -> Iterator[None]:
    """Let cuDNN try its algorithms for each new shape, which pays for shapes that come again."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass
class CudaGraphCache:
    """Graphs of batches of one shape, for shapes that come often if a trial shows that a graph is faster."""

    backend: DeviceBackend
    log: Log
    runs: Counter[tuple[int, ...]] = field(default_factory=Counter)
    since: dict[tuple[int, ...], float] = field(default_factory=dict)
    graphs: dict[tuple[int, ...], Forward] = field(default_factory=dict)

    def run(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return `forward(batch)`; `forward` has to be the same function each time."""
        shape = tuple(batch.shape)
        self.runs[shape] += 1
        started = self.since.setdefault(shape, time.perf_counter())
        if self.runs[shape] >= _MIN_RUNS and time.perf_counter() - started >= _MIN_SECONDS:
            self.since[shape] = float("inf")  # one trial only
            self._try_graph(forward, batch)
        return self.graphs.get(shape, forward)(batch)

    def clear(self) -> None:
        """Drop the graphs, and the memory that they hold."""
        self.graphs.clear()

    def _try_graph(self, forward: Forward, batch: Tensor) -> None:
        height, width = batch.shape[2:]
        tiles = f"{len(batch)} tiles of {width}x{height}"
        if len(self.graphs) >= _MAX_GRAPHS:
            return None
        try:
            replay = self.backend.capture(forward, batch)
        except torch.OutOfMemoryError:
            return self.log(f"no memory to capture {tiles} as a graph")
        except RuntimeError as error:
            return self.log(f"cannot capture {tiles} as a graph: {str(error).splitlines()[0]}")
        if replay is None:
            return None
        plain, graph = (self._time(run, batch) for run in (forward, replay))
        used = plain > _MIN_GAIN * graph
        if used:
            self.graphs[tuple(batch.shape)] = replay
        return self.log(
            f"{tiles} as a graph: {plain / graph:.2f} times as fast, {'used' if used else 'not used'}"
        )

    def _time(self, run: Forward, batch: Tensor) -> float:
        """Return the seconds that a run takes, the best of three."""
        best = float("inf")
        for _ in range(3):
            self.backend.synchronize()
            start = time.perf_counter()
            run(batch)
            self.backend.synchronize()
            best = min(best, time.perf_counter() - start)
        return best


class ExactFloat32:
    """A context in which single precision is exact, although a GPU would rather round to ten bits (TF32).

    The settings belong to the process: the last of several threads that leaves restores them.
    """

    def __init__(self) -> None:
        self.lock, self.entered = Lock(), 0
        self.before: list[bool] = []

    def __enter__(self) -> None:
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.before = [settings.allow_tf32 for settings in _TF32]
                for settings in _TF32:
                    settings.allow_tf32 = False

    def __exit__(self, *reason: object) -> None:
        with self.lock:
            self.entered -= 1
            if self.entered == 0:
                for settings, allowed in zip(_TF32, self.before, strict=True):
                    settings.allow_tf32 = allowed


_TF32: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
