"""ncnn on the CPU: converted networks, with Winograd convolutions, without loading torch."""

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from srcli.engine.runtimes.base import OutOfMemory, Runtime, RuntimeRequest, WeightsSource
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
    """A converted network, read once and used for every tile."""

    net: Any
    pools: Pools

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

        version = f"{WRITER_VERSION}, ncnn {ncnn.__version__}"
        files = converted.find_or_convert(source, FORMAT, version, request.convert)
        keep_freed_memory()
        device = "requested" if request.device else "no GPU found"
        description = f"cpu, float32 ({device}), by ncnn ({reason or 'fastest on a CPU'})"
        return prepare(files, count_threads(), description)

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            height, width = (side * self.info.scale for side in tile.shape[:2])
            yield self._forward(self._pad(tile))[:height, :width]

    def _pad(self, tile: Pixels) -> Pixels:
        """Repeat the right and lower edges of a tile where the network needs more."""
        multiple = self.info.side_multiple
        sides = (max(side, self.info.min_side) for side in tile.shape[:2])
        missing = [
            -(-wanted // multiple) * multiple - side for wanted, side in zip(sides, tile.shape, strict=False)
        ]
        if not any(missing):
            return tile
        return np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")

    def _forward(self, tile: Pixels) -> Pixels:
        import ncnn

        height, width, channels = tile.shape
        # A matrix of its own: one that borrows an array has no gaps between planes, which some layers rely
        # on.
        planes = ncnn.Mat(width, height, channels)
        np.asarray(planes)[...] = tile.transpose(2, 0, 1)
        self.pools.reserve(height * width)
        extractor = self.net.create_extractor()
        extractor.input("in0", planes)
        failed, out = extractor.extract("out0")
        if failed:
            raise OutOfMemory.of_tile(tile)
        result: Pixels = np.array(out, np.float32).transpose(1, 2, 0)
        return result


def prepare(files: ConvertedFiles, threads: int, description: str = "ncnn") -> NcnnRuntime:
    """Return a converted network ready to run in single precision. Raises `WeightsError`."""
    import ncnn

    if files.info is None:
        raise WeightsError(f"{files.path} holds no network: {files.refusal}", "use --runtime torch")
    net, pools = ncnn.Net(), Pools(ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator())
    net.opt.blob_allocator, net.opt.workspace_allocator = pools.blobs, pools.workspace
    for name, value in _EXACT.items():
        setattr(net.opt, name, value)
    net.opt.num_threads = threads
    graph, weights = files.file("param"), files.file("bin")
    if net.load_param(graph) or net.load_model(weights):
        raise WeightsError(f"ncnn cannot read {graph}", "delete it, or use --runtime torch")
    return NcnnRuntime(files.info, description, net, pools)


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
