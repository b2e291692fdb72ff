"""PyTorch on any device: the one place where pixels become batches and come back."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srcli.archs.blocks import GlobalStats, pool_stats
from srcli.dataclass import dataclass
from srcli.engine.device import (
    Device,
    count_threads,
    has_bfloat16_matrices,
    keep_freed_memory,
    select_device,
)
from srcli.engine.runtimes.backends import CpuBackend, DeviceBackend
from srcli.engine.runtimes.base import (
    ImplausibleResult,
    NetworkInfo,
    OutOfMemory,
    Runtime,
    RuntimeRequest,
    WeightsSource,
)
from srcli.engine.runtimes.batching import BatchLimit, Item, PendingBatch, count_pixels, run_batches
from srcli.engine.runtimes.cuda import CudaBackend, CudaGraphCache, ExactFloat32
from srcli.engine.runtimes.half import Trial, compare_results
from srcli.engine.runtimes.winograd import use_winograd
from srcli.engine.tiles import DEFAULT_TILE
from srcli.engine.vulkan import is_vulkan
from srcli.engine.weights import files
from srcli.imaging.pixels import Pixels
from srcli.scales import Window
from srcli.workers.progress import Log, ignore

# Pixels of a batch that keep a GPU busy; results of a larger one would only come later.
_BATCH_PIXELS = 2**19
# How much of the free memory one batch may take: others are in progress, and no measurement is exact.
_MEMORY_SHARE = 0.5
# Sides of the largest tile on a GPU, and of the one that shows how many bytes a pixel takes.
_LARGEST_TILE, _TRIAL_TILE = 2048, 256
_EXACT = ExactFloat32()


@dataclass
class Findings:
    """Facts learned while a network ran: the batch that fits, and whether half precision overflowed.

    `pixel_bytes`: what each pixel of a tile takes, once measured; 0 if the device does not say.
    """

    limit: BatchLimit = field(default_factory=BatchLimit)
    pixel_bytes: float | None = None
    overflowed: bool = False


@dataclass(frozen=True)
class TorchRuntime(Runtime):
    """A network on a device.

    `global_stats`: means over the whole image, by the names of the modules that compute them; `graphs`: None
    if the network must not be captured as a graph.
    """

    network: nn.Module
    device: Device
    global_stats: Mapping[str, Tensor] = field(default_factory=dict)
    channels_last: bool = True
    backend: DeviceBackend = field(default_factory=CpuBackend)
    graphs: CudaGraphCache | None = None
    findings: Findings = field(default_factory=Findings)
    log: Log = ignore

    @classmethod
    def reason_against(cls, source: WeightsSource, request: RuntimeRequest) -> str | None:
        """Return None: torch runs every network, except by Vulkan."""
        return "PyTorch cannot use Vulkan" if is_vulkan(request.device) else None

    @classmethod
    def load(cls, source: WeightsSource, request: RuntimeRequest, reason: str | None) -> "TorchRuntime":
        """Return the network ready to run, with Winograd convolutions where they are faster."""
        device = select_device(request.device)  # first, as a wrong name should cost nothing
        torch.set_num_threads(count_threads())
        keep_freed_memory()
        spec = source.spec
        network = files.load_network(source.path, spec).eval()
        if request.approximate and has_bfloat16_matrices(device):
            device = replace(device, dtype="bfloat16", reason="its fast matrix instructions")
            return prepare(network, spec.own_scale, device, reason)
        replaced = device.name == "cpu" and use_winograd(network, int(network.channels), str(spec))  # type: ignore[arg-type]
        return build(network, spec.own_scale, request, reason, channels_last=not replaced)

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "TorchRuntime":
        """Return the runtime for one image, given all its tiles; itself if the network takes no means.

        The means are near the image's, not equal: each depends on those before it, and what is in two tiles
        counts twice.
        """
        modules = {name: part for name, part in self.network.named_modules() if isinstance(part, GlobalStats)}
        if not modules:
            return self
        counts, latest = [], dict[str, Tensor]()
        seen: dict[str, list[Tensor]] = {name: [] for name in modules}
        with _forward_hooks(modules, latest.__setitem__):
            for tile in tiles:
                next(self.run([tile]))
                counts.append(tile.shape[0] * tile.shape[1])
                for name, stats in latest.items():
                    seen[name].append(stats)
        return replace(self, global_stats={name: pool_stats(counts, stats) for name, stats in seen.items()})

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        return self._run_items((tile,) for tile in tiles)

    def sample(self, tiles: Iterable[tuple[Pixels, Window]]) -> Iterator[Pixels]:
        """Yield the requested window of each tile's output, in order. Raises like `run`."""
        return self._run_items(tiles)

    def largest_tile(self, tile: int) -> int:
        """Return the tile side: as large as fits if none was requested and the device reports its memory."""
        if not self.uniform_tiles or tile != DEFAULT_TILE:
            return tile
        if self.findings.pixel_bytes is None:
            with suppress(OutOfMemory):  # tiles get smaller anyway then
                next(self.run([np.zeros((_TRIAL_TILE, _TRIAL_TILE, self.info.channels), np.float32)]))
        if not self.findings.pixel_bytes:
            return tile
        pixels = min(_LARGEST_TILE**2, self._fitting_pixels(self.findings.pixel_bytes))
        return max(tile, int(pixels**0.5) - 2 * self.info.halo)

    def as_uint8(self) -> "TorchRuntime | None":
        """Return a runtime that rounds on the device; None on the CPU, where nothing is gained by it."""
        return replace(self, returns_uint8=True) if self.uniform_tiles else None

    def _run_items(self, items: Iterable[Item]) -> Iterator[Pixels]:
        return run_batches(items, self._submit, self.findings.limit, self.backend.prefetch)

    def _submit(self, items: Sequence[Item]) -> PendingBatch:
        """Start a batch, and return what waits for its results."""
        pixels, limit = count_pixels(items[0]), self.findings.limit
        if pixels >= limit.too_large:
            raise self._out_of_memory(items)
        unknown = self.uniform_tiles and self.findings.pixel_bytes is None
        with self._translate_errors(items):
            if unknown:
                self.backend.reset_peak()
            pending = self._start(self.backend.upload([item[0] for item in items]), *items[0][1:])
            if unknown:
                self.findings.pixel_bytes = self.backend.reset_peak() / len(items) / pixels
                limit.pixels = min(_BATCH_PIXELS, self._fitting_pixels(self.findings.pixel_bytes))

        def wait() -> Iterable[Pixels]:
            with self._translate_errors(items):
                return pending()

        return wait

    def _fitting_pixels(self, pixel_bytes: float) -> float:
        return _MEMORY_SHARE * self.backend.free_bytes() / pixel_bytes if pixel_bytes else math.inf

    def _start(self, batch: Tensor, *window: Window) -> PendingBatch:
        """Start a batch; a result in half precision that overflows is computed again when waited for."""
        half = self.device.dtype != "float32" and not self.findings.overflowed
        out = self._infer(batch, *window, half=half)
        if not half and not self.returns_uint8:  # a result with decimals is checked where tiles are placed
            return self.backend.download(out)
        total = self.backend.download(out.sum().view(1, 1, 1, 1))
        result = self.backend.download(self._round(out))

        def wait() -> Iterable[Pixels]:
            if np.isfinite(total()).all():
                return result()
            if not half:
                raise ImplausibleResult.of_extremes(math.nan, math.nan)
            if not self.findings.overflowed:
                self.log(f"{self.device.dtype} overflows; continuing in float32")
            self.findings.overflowed = True
            again = self._infer(batch, *window, half=False)
            if not again.sum().isfinite():
                raise ImplausibleResult.of_extremes(math.nan, math.nan)
            return self.backend.download(self._round(again))()

        return wait

    @torch.inference_mode()
    def _infer(self, batch: Tensor, *window: Window, half: bool) -> Tensor:
        """Run the network, as a graph if it is always the same that is computed."""
        if self.graphs is None or window or self.global_stats or half != (self.device.dtype != "float32"):
            return self._forward(batch, *window, half=half)
        return self.graphs.run(partial(self._forward, half=half), batch)

    def _forward(self, batch: Tensor, *window: Window, half: bool) -> Tensor:
        batch = batch.contiguous(memory_format=_layout(self.channels_last))
        dtype = getattr(torch, self.device.dtype) if half else None
        # Weights that autocast caches would be those in a graph's own memory.
        cast = torch.autocast(batch.device.type, dtype=dtype, enabled=half, cache_enabled=False)
        parts = {name: self.network.get_submodule(name) for name in self.global_stats}
        with _forward_hooks(parts, lambda name, out: self.global_stats[name].to(out)), _EXACT, cast:
            out: Tensor = self.network(batch, *window)
        return out.float()

    @torch.inference_mode()
    def _round(self, out: Tensor) -> Tensor:
        """Round to bytes if asked to, in the steps of `quantise`: a fused multiply-add would differ."""
        if not self.returns_uint8:
            return out
        return out.clamp(0, 1).mul_(255).add_(0.5).floor_().to(torch.uint8)

    @contextmanager
    def _translate_errors(self, items: Sequence[Item]) -> Iterator[None]:
        """Raise `OutOfMemory` in place of torch's errors, and free what graphs hold."""
        try:
            yield
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if self.graphs:
                self.graphs.clear()
            raise self._out_of_memory(items) from error

    def _out_of_memory(self, items: Sequence[Item]) -> OutOfMemory:
        height, width = items[0][0].shape[:2]
        size = f"{width}x{height}"
        tiles = f"a tile of {size} does" if len(items) == 1 else f"{len(items)} tiles of {size} do"
        message = f"{tiles} not fit into the memory of {self.device.name}"
        return OutOfMemory(message, "close other programs, or use --device cpu")


@contextmanager
def _forward_hooks(
    parts: Mapping[str, nn.Module], hook: Callable[[str, Tensor], Tensor | None]
) -> Iterator[None]:
    """Call `hook` with the name and output of each part; what it returns, if anything, is used instead."""

    def call(name: str, part: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        return hook(name, output)

    with ExitStack() as hooks:
        for name, part in parts.items():
            hooks.enter_context(part.register_forward_hook(partial(call, name)))
        yield


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Recognise a GPU's error by its type; the allocators of the CPU and of MPS raise none of their own."""
    names = ("DefaultCPUAllocator", "MPS backend out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(name in str(error) for name in names)


def build(
    network: nn.Module,
    scale: int,
    request: RuntimeRequest,
    reason: str | None = None,
    *,
    channels_last: bool = True,
) -> TorchRuntime:
    """Return a network ready to run on the requested device, or on the fastest one.

    `scale`: of the network's own tensors, or `ANY`; `reason`: why torch runs it, if there was a choice.
    """
    keep_freed_memory()
    device = select_device(request.device)
    backend = select_backend(device, request.vram)
    runtime = prepare(
        network, scale, device, reason, channels_last=channels_last, backend=backend, log=request.log
    )
    return choose_precision(runtime, reason) if device.name.startswith("cuda") else runtime


def prepare(
    network: nn.Module,
    scale: int,
    device: Device,
    reason: str | None = None,
    *,
    channels_last: bool = True,
    backend: DeviceBackend | None = None,
    log: Log = ignore,
) -> TorchRuntime:
    """Return the network in evaluation mode on a device, in the memory layout that is fast there."""
    placed = network.eval().to(device.name, memory_format=_layout(channels_last))  # type: ignore[call-overload]
    backend = backend or select_backend(device)
    # Global statistics are put in by hooks, which a graph would leave out.
    has_stats = any(isinstance(part, GlobalStats) for part in placed.modules())
    return TorchRuntime(
        describe_network(placed, scale),
        _describe(device, reason),
        placed,
        device,
        channels_last=channels_last,
        backend=backend,
        graphs=None if has_stats else CudaGraphCache(backend, log),
        log=log,
        uniform_tiles=backend.uniform_tiles,
    )


def select_backend(device: Device, vram: int | None = None) -> DeviceBackend:
    """Return what drives a device; on a GPU it takes at most `vram` bytes of memory for tensors."""
    kind = torch.device(device.name)
    if kind.type == "cuda":
        index = torch.cuda.current_device() if kind.index is None else kind.index
        total = torch.cuda.get_device_properties(index).total_memory
        limit = min(total, vram or total)
        if vram:
            torch.cuda.set_per_process_memory_fraction(limit / total, index)
        return CudaBackend(index, limit)
    if kind.type == "mps":
        if vram:
            share = vram / torch.mps.recommended_max_memory()
            torch.mps.set_per_process_memory_fraction(min(1.0, share))
        return CpuBackend(device.name, prefetch=1, uniform_tiles=True)
    return CpuBackend(device.name)


def try_half(runtime: TorchRuntime, dtype: str = "float16") -> Trial:
    """Compare half precision with single on a photograph; float16 keeps more digits than bfloat16.

    Raises `OutOfMemory` if not even that fits.
    """
    single = replace(runtime, graphs=None, findings=Findings())
    findings = Findings()
    half = replace(single, device=replace(runtime.device, dtype=dtype), findings=findings, log=ignore)
    return replace(compare_results(single, half), overflowed=findings.overflowed)


def choose_precision(runtime: TorchRuntime, reason: str | None = None) -> TorchRuntime:
    """Return the runtime in half precision if a trial shows no difference; its description says why."""
    try:
        trial = try_half(runtime)
    except OutOfMemory:
        return runtime
    dtype = "float16" if trial.is_invisible else runtime.device.dtype
    device = replace(
        runtime.device, dtype=dtype, reason=f"{runtime.device.reason}; float16 in a trial: {trial}"
    )
    return replace(runtime, device=device, description=_describe(device, reason), findings=Findings())


def describe_network(network: nn.Module, scale: int, min_steps: int = 1) -> NetworkInfo:
    """Return what tiles a network needs; `scale` is that of its own tensors, or `ANY`.

    `min_steps`: the least that a converted form of it takes, in multiples of its alignment.
    """
    alignment = int(getattr(network, "alignment", 1))
    return NetworkInfo(
        scale,
        halo=int(network.halo),  # type: ignore[arg-type]
        alignment=alignment,
        channels=int(network.channels),  # type: ignore[arg-type]
        params=sum(weight.numel() for weight in network.parameters()),
        min_side=min_steps * alignment,
        side_multiple=alignment,
    )


def _describe(device: Device, reason: str | None) -> str:
    return f"{device}, by torch ({reason})" if reason else str(device)


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def to_batch(pixels: Pixels) -> Tensor:
    """Return (H, W, C) as (1, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).unsqueeze(0)


def to_pixels(batch: Tensor) -> Pixels:
    """Return (1, C, H, W) as (H, W, C)."""
    return batch[0].permute(1, 2, 0).cpu().numpy()
