"""ncnn on the CPU: converted networks and foreign ones, with Winograd convolutions, without loading torch."""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from srcli.engine.device import (
    count_threads,
    keep_freed_memory,
    may_have_gpu,
    release_memory,
    select_device,
)
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.base import OutOfMemory, Runtime, RuntimeRequest, WeightsSource, pad_tile
from srcli.engine.runtimes.converted import ConvertedFiles
from srcli.errors import WeightsError
from srcli.imaging.pixels import Pixels
from srcli.scales import ANY

FORMAT = "ncnn"
# Raise it whenever `engine.export.ncnn` writes a network differently: cached ones are then converted again.
WRITER_VERSION = 3


@dataclass
class Pools:
    """Memory that layers take and give back, kept between tiles; `pixels`: the largest tile so far.

    Blocks kept for smaller tiles are of no use to a larger one, and would only add to what it takes.
    """

    blobs: Any
    workspace: Any
    pixels: int = 0

    def reserve(self, pixels: int) -> None:
        """Drop the blocks of smaller tiles; to be called before each tile."""
        if pixels > self.pixels:
            self.blobs.clear()
            self.workspace.clear()
            release_memory()
            self.pixels = pixels


@dataclass(frozen=True)
class NcnnRuntime(Runtime):
    """A converted network or a foreign one, read once and used for every tile.

    `blobs`: the names of its input and output; `peak`: the value of white in both; `global_stats`: the
    names of blobs that are means over the image, each with its value over the whole image, if that was taken.
    """

    net: Any
    pools: Pools
    blobs: tuple[str, str] = ("in0", "out0")
    peak: float = 1.0
    global_stats: Mapping[str, Pixels | None] = field(default_factory=dict)

    @classmethod
    def reason_against(cls, source: WeightsSource, request: RuntimeRequest) -> str | None:
        """Return why ncnn cannot run the network here, or is not the fastest; None if it can."""
        if request.device not in (None, "cpu"):
            return "ncnn runs on the CPU only"
        if importlib.util.find_spec("ncnn") is None:
            return "ncnn is not installed"
        wants_cpu = request.device == "cpu" or request.runtime == "ncnn"
        if not wants_cpu and may_have_gpu() and select_device().name != "cpu":
            return "ncnn runs on the CPU only"
        return "its scale is an input" if source.spec.scale == ANY else None

    @classmethod
    def load(cls, source: WeightsSource, request: RuntimeRequest, reason: str | None) -> "NcnnRuntime":
        """Return the network ready to run. Raises `UnsupportedNetwork` if it cannot be converted."""
        import ncnn

        if source.path.suffix == ".param":
            from srcli.engine.runtimes.ncnn_pair import load_pair

            return load_pair(source.path, request, reason)
        version = f"{WRITER_VERSION}, ncnn {ncnn.__version__}"
        files = converted.find_or_convert(source, FORMAT, version, request.convert, request.wait)
        keep_freed_memory()
        device = "requested" if request.device else "no GPU found"
        description = f"cpu, float32 ({device}), by ncnn ({reason or 'fastest on a CPU'})"
        return prepare(files, count_threads(), description)

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "NcnnRuntime":
        """Return the runtime for one image, given all its tiles; itself if the network takes no means.

        The means are near the image's, not equal: each depends on those before it, and what is in two tiles
        counts twice.
        """
        if not self.global_stats:
            return self
        totals, pixels = {name: np.zeros(1, np.float64) for name in self.global_stats}, 0
        for tile in tiles:
            area = tile.shape[0] * tile.shape[1]
            for name, mean in zip(
                self.global_stats,
                self.forward(pad_tile(tile, self.info), tuple(self.global_stats)),
                strict=True,
            ):
                totals[name] = totals[name] + area * mean.astype(np.float64)
            pixels += area
        return replace(
            self, global_stats={k: (total / pixels).astype(np.float32) for k, total in totals.items()}
        )

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            height, width = (side * self.info.scale for side in tile.shape[:2])
            (planes,) = self.forward(pad_tile(tile, self.info), self.blobs[1:])
            result = planes.transpose(1, 2, 0)[:height, :width]
            yield result if self.peak == 1 else result / np.float32(self.peak)

    def forward(self, tile: Pixels, names: tuple[str, ...]) -> list[Pixels]:
        """Return the blobs of these names, of which a later one must not need an earlier one."""
        import ncnn

        height, width, channels = tile.shape
        # A matrix of its own: one that borrows an array has no gaps between planes, which some layers rely
        # on.
        planes = ncnn.Mat(width, height, channels)
        np.asarray(planes)[...] = tile.transpose(2, 0, 1)
        if self.peak != 1:
            np.asarray(planes)[...] *= np.float32(self.peak)
        self.pools.reserve(height * width)
        extractor = self.net.create_extractor()
        extractor.set_light_mode(len(names) == 1)
        extractor.input(self.blobs[0], planes)
        for name, mean in self.global_stats.items():
            if mean is not None:
                extractor.input(name, ncnn.Mat(mean))
        found = []
        for name in names:
            failed, out = extractor.extract(name)
            if failed:
                raise OutOfMemory.of_tile(tile)
            found.append(np.array(out, np.float32))
        return found


def prepare(files: ConvertedFiles, threads: int, description: str = "ncnn") -> NcnnRuntime:
    """Return a converted network ready to run in single precision. Raises `WeightsError`."""
    if files.info is None:
        raise WeightsError(f"{files.path} holds no network: {files.refusal}", "use --runtime torch")
    net, pools = read_net(Path(files.file("param")), Path(files.file("bin")), threads)
    return NcnnRuntime(files.info, description, net, pools)


def read_net(param: Path, weights: Path, threads: int) -> tuple[Any, Pools]:
    """Return a network that computes in single precision, and its memory. Raises `WeightsError`."""
    import ncnn

    net, pools = ncnn.Net(), Pools(ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator())
    net.opt.blob_allocator, net.opt.workspace_allocator = pools.blobs, pools.workspace
    for name, value in _EXACT.items():
        setattr(net.opt, name, value)
    net.opt.num_threads = threads
    with _silence_stderr():
        failed = net.load_param(str(param)) or net.load_model(str(weights))
    if failed:
        raise WeightsError(f"ncnn cannot read {param}", "it is damaged, or needs a newer ncnn")
    return net, pools


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Keep what ncnn prints from the user for a moment: an error says it in one line."""
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# Exact arithmetic, whatever a processor or a later version would choose by itself.
_EXACT = {
    "lightmode": True,
    "use_vulkan_compute": False,
    "use_winograd_convolution": True,
    "use_sgemm_convolution": True,
    "use_packing_layout": True,
    "use_fp16_packed": False,
    "use_fp16_storage": False,
    "use_fp16_arithmetic": False,
    "use_bf16_packed": False,
    "use_bf16_storage": False,
    "use_int8_inference": False,
}
