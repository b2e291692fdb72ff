"""ncnn on a CPU: packed networks, with Winograd's convolutions, and no torch to be loaded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from srcli.engine.device import give_back_memory
from srcli.engine.runtimes.base import OutOfMemory
from srcli.engine.weights.ncnn_cache import Found, Shape
from srcli.errors import WeightsError
from srcli.imaging.pixels import Pixels


@dataclass
class Pools:
    """Memory that layers take and give back, kept from tile to tile; `pixels` in the largest tile so far.

    What is kept for smaller tiles is of no use to a larger one, and would stay beside what that takes.
    """

    blobs: Any
    workspace: Any
    pixels: int = 0

    def grow(self, pixels: int) -> None:
        """To be called before each tile."""
        if pixels > self.pixels:
            self.blobs.clear()
            self.workspace.clear()
            give_back_memory()
            self.pixels = pixels


@dataclass(frozen=True)
class NcnnRuntime:
    """A packed network, read once and used for every tile."""

    net: Any
    shape: Shape
    reason: str
    pools: "Pools"

    @property
    def scale(self) -> int:
        """See `Runtime`."""
        return self.shape.scale

    @property
    def halo(self) -> int:
        """See `Runtime`."""
        return self.shape.halo

    @property
    def alignment(self) -> int:
        """See `Runtime`."""
        return self.shape.align

    @property
    def uniform_tiles(self) -> bool:
        """See `Runtime`."""
        return False

    @property
    def channels(self) -> int:
        """See `Runtime`."""
        return self.shape.channels

    @property
    def params(self) -> int:
        """See `Runtime`."""
        return self.shape.params

    @property
    def description(self) -> str:
        """See `Runtime`."""
        return self.reason

    def largest_tile(self, tile: int) -> int:
        """See `Runtime`."""
        return tile

    def with_global_stats(self, tiles: Iterable[Pixels]) -> "NcnnRuntime":
        """See `Runtime`."""
        return self

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """See `Runtime`."""
        for tile in tiles:
            height, width = (side * self.scale for side in tile.shape[:2])
            yield self._forward(self._fitting(tile))[:height, :width]

    def _fitting(self, tile: Pixels) -> Pixels:
        """The tile with its right and lower edges repeated where the network needs more."""
        missing = [_missing(side, self.shape) for side in tile.shape[:2]]
        if not any(missing):
            return tile
        return np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")

    def _forward(self, tile: Pixels) -> Pixels:
        import ncnn

        height, width, channels = tile.shape
        # Its own matrix: one that borrows an array has no gaps between planes, on which some layers count.
        planes = ncnn.Mat(width, height, channels)
        np.asarray(planes)[...] = tile.transpose(2, 0, 1)
        self.pools.grow(height * width)
        extractor = self.net.create_extractor()
        extractor.input("in0", planes)
        failed, out = extractor.extract("out0")
        if failed:
            raise OutOfMemory(f"a tile of {width}x{height} does not fit into memory", "close other programs")
        result: Pixels = np.array(out, np.float32).transpose(1, 2, 0)
        return result


def _missing(side: int, shape: Shape) -> int:
    enough = max(side, shape.least)
    return -(-enough // shape.multiple) * shape.multiple - side


def prepare(found: Found, threads: int, reason: str) -> NcnnRuntime:
    """A packed network, ready to run in single precision on so many threads."""
    import ncnn

    assert found.shape is not None
    net, pools = ncnn.Net(), Pools(ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator())
    net.opt.blob_allocator, net.opt.workspace_allocator = pools.blobs, pools.workspace
    for name, value in _options(threads).items():
        setattr(net.opt, name, value)
    graph, weights = found.files
    if net.load_param(graph) or net.load_model(weights):
        raise WeightsError(f"ncnn cannot read {graph}", "delete it, or give --runtime torch")
    return NcnnRuntime(net, found.shape, reason, pools)


def _options(threads: int) -> dict[str, bool | int]:
    """Exact arithmetics, whatever a processor or a later version would choose by itself."""
    return {
        "num_threads": threads,
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
