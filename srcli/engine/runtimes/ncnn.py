"""ncnn on the CPU or by Vulkan: converted networks and foreign ones, without loading torch."""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import numpy as np

from srcli.dataclass import dataclass
from srcli.engine.device import (
    count_threads,
    keep_freed_memory,
    may_have_gpu,
    release_memory,
    select_device,
)
from srcli.engine.measurements import measure_once
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.base import (
    NetworkInfo,
    OutOfMemory,
    Runtime,
    RuntimeRequest,
    WeightsSource,
    pad_tile,
)
from srcli.engine.runtimes.converted import ConvertedFiles
from srcli.engine.sample_photo import crop_photo
from srcli.engine.tiles import DEFAULT_TILE, SMALLEST_TILE
from srcli.engine.vulkan import VulkanGpu, find_gpu, find_real_gpu, is_vulkan
from srcli.engine.weights.ncnn import count_pixel_bytes, read_graph
from srcli.errors import SrError, WeightsError
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels
from srcli.scales import ANY
from srcli.storage.hashing import sha256
from srcli.storage.silence import silence_stderr

FORMAT = "ncnn"
# Raise it whenever `engine.export.ncnn` writes a network differently: cached ones are then converted again.
WRITER_VERSION = 3
# The largest tile on a GPU; of its memory, the part that the blobs of a tile may take.
_LARGEST_GPU_TILE, _MEMORY_SHARE = 1024, 0.5
# Height and width of the crop that a GPU and the CPU are compared on, and the least PSNR: both compute in
# single precision, and reach 130 dB.
_TRIAL_SIDES, _SAME = (32, 48), 80.0


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
    names of blobs that are means over the image, each with its value over the whole image, if that was taken;
    `max_pixels`: of a tile that a GPU has memory for.
    """

    net: Any
    pools: Pools
    blobs: tuple[str, str] = ("in0", "out0")
    peak: float = 1.0
    global_stats: Mapping[str, Pixels | None] = field(default_factory=dict)
    max_pixels: int | None = None

    @classmethod
    def reason_against(cls, source: WeightsSource, request: RuntimeRequest) -> str | None:
        """Return why ncnn cannot run the network here, or is not the fastest; None if it can."""
        if request.device not in (None, "cpu") and not is_vulkan(request.device):
            return "ncnn runs on the CPU and by Vulkan only"
        if importlib.util.find_spec("ncnn") is None:
            return "ncnn is not installed"
        is_chosen = request.device is not None or request.runtime == "ncnn"
        if not is_chosen and may_have_gpu() and select_device().name != "cpu":
            return "PyTorch uses the GPU"
        return "its scale is an input" if source.spec.scale == ANY else None

    @classmethod
    def load(cls, source: WeightsSource, request: RuntimeRequest, reason: str | None) -> "NcnnRuntime":
        """Return the network ready to run. Raises `UnsupportedNetwork` if it cannot be converted."""
        if source.path.suffix == ".param":
            from srcli.engine.runtimes.ncnn_pair import load_pair

            return load_pair(source.path, request, reason)
        if is_vulkan(request.device):
            find_gpu(request.device or "")  # first, as a wrong name should cost nothing
        files = find_converted(source, request)
        return open_network(as_network(files), request, reason, "no GPU found", "fastest on a CPU")

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

    def largest_tile(self, tile: int) -> int:
        """Return the tile side: on a GPU, as large as fits if none was requested."""
        if self.max_pixels is None or tile != DEFAULT_TILE:
            return tile
        return max(SMALLEST_TILE, min(_LARGEST_GPU_TILE, int(self.max_pixels**0.5) - 2 * self.info.halo))

    def run(self, tiles: Iterable[Pixels]) -> Iterator[Pixels]:
        """Yield the upscaled tiles, in order. Raises `OutOfMemory` if one does not fit."""
        for tile in tiles:
            if self.max_pixels is not None and tile.shape[0] * tile.shape[1] > self.max_pixels:
                raise OutOfMemory.of_tile(tile)
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


@dataclass(frozen=True)
class NcnnNetwork:
    """The files of a network and what `NcnnRuntime` has to know.

    `means`: the names of blobs that are means over the image.
    """

    info: NetworkInfo
    param: Path
    weights: Path
    blobs: tuple[str, str] = ("in0", "out0")
    peak: float = 1.0
    means: tuple[str, ...] = ()

    def open(self, threads: int, description: str = "ncnn", gpu: VulkanGpu | None = None) -> NcnnRuntime:
        """Return it ready to run in single precision, on the CPU or a GPU. Raises `WeightsError`."""
        net, pools = read_net(self.param, self.weights, threads, gpu)
        # The last mean first: it makes ncnn compute the others.
        means = dict.fromkeys(reversed(self.means))
        most = self._count_fitting_pixels(gpu) if gpu else None
        return NcnnRuntime(
            self.info,
            description,
            net,
            pools,
            self.blobs,
            self.peak,
            means,
            most,
            uniform_tiles=gpu is not None,
        )

    def _count_fitting_pixels(self, gpu: VulkanGpu) -> int:
        """Return the pixels of a tile that the GPU has memory for, but at least those of the smallest one."""
        smallest = (SMALLEST_TILE + 2 * self.info.halo + self.info.alignment) ** 2
        fitting = _MEMORY_SHARE * gpu.memory / count_pixel_bytes(read_graph(self.param))
        return max(smallest, int(fitting))


def find_converted(source: WeightsSource, request: RuntimeRequest) -> ConvertedFiles:
    """Return the network in ncnn's format; see `converted.find_or_convert`."""
    import ncnn

    version = f"{WRITER_VERSION}, ncnn {ncnn.__version__}"
    return converted.find_or_convert(source, FORMAT, version, request.convert, request.wait)


def as_network(files: ConvertedFiles) -> NcnnNetwork:
    """Return a converted network. Raises `WeightsError` if it could not be converted."""
    if files.info is None:
        raise WeightsError(f"{files.path} holds no network: {files.refusal}", "use --runtime torch")
    return NcnnNetwork(files.info, Path(files.file("param")), Path(files.file("bin")))


def prepare(files: ConvertedFiles, threads: int, description: str = "ncnn") -> NcnnRuntime:
    """Return a converted network ready to run on the CPU in single precision. Raises `WeightsError`."""
    return as_network(files).open(threads, description)


def open_network(
    network: NcnnNetwork, request: RuntimeRequest, reason: str | None, on_cpu: str, by_ncnn: str = ""
) -> NcnnRuntime:
    """Return a network on the requested device, else on a GPU that Vulkan finds, else on the CPU.

    `on_cpu` and `by_ncnn` say why, if there is no other `reason`. A GPU whose result differs from the CPU's
    is not used. Raises `SrError` if it was requested.
    """
    keep_freed_memory()
    gpu = find_gpu(request.device or "") if is_vulkan(request.device) else None
    found = gpu if request.device else find_real_gpu()
    why = "requested" if request.device else on_cpu
    if found:
        problem = _find_difference(network, found, request)
        if not problem:
            chosen = "requested" if gpu else "fastest available"
            text = f"{found.name}, float32 ({chosen}: {found.model}), by ncnn" + _bracket(reason)
            return network.open(count_threads(), text, found)
        if gpu:
            raise SrError(
                f"{gpu.name} is not usable: {problem}", "update the driver of the GPU, or leave out --device"
            )
        why = problem
    text = f"cpu, float32 ({why}), by ncnn" + _bracket(reason or by_ncnn)
    return network.open(count_threads(), text)


def _bracket(reason: str | None) -> str:
    return f" ({reason})" if reason else ""


def _find_difference(network: NcnnNetwork, gpu: VulkanGpu, request: RuntimeRequest) -> str:
    """Return how the results of a GPU differ from the CPU's; empty if they do not. Tried once per driver."""
    import ncnn

    def compare() -> dict[str, float]:
        request.log(f"comparing {gpu.name} ({gpu.model}) with the CPU, once")
        tile = crop_photo(*_TRIAL_SIDES, network.info.channels)
        exact, ours = (
            next(network.open(count_threads(), gpu=each).run([tile])).clip(0, 1) for each in (None, gpu)
        )
        return {"decibels": float(np.nan_to_num(psnr(exact, ours), posinf=200).clip(1e-9, 200))}

    facts = ("vulkan", gpu.model, gpu.driver, ncnn.__version__, sha256(network.param))
    try:
        decibels = measure_once(facts, compare)["decibels"]
    except OutOfMemory:
        return "not even a small tile fits into its memory"
    return "" if decibels >= _SAME else f"its results are {decibels:.0f} dB from the CPU's"


def read_net(param: Path, weights: Path, threads: int, gpu: VulkanGpu | None = None) -> tuple[Any, Pools]:
    """Return a network that computes in single precision, and its memory. Raises `WeightsError`."""
    import ncnn

    # Both with locks: threads that share a network would leave the lists of an unlocked pool in circles.
    net, pools = ncnn.Net(), Pools(ncnn.PoolAllocator(), ncnn.PoolAllocator())
    net.opt.blob_allocator, net.opt.workspace_allocator = pools.blobs, pools.workspace
    for name, value in _EXACT.items():
        setattr(net.opt, name, value)
    net.opt.num_threads = threads
    with silence_stderr():
        if gpu:
            net.opt.use_vulkan_compute = True
            net.set_vulkan_device(gpu.number)
        failed = net.load_param(str(param)) or net.load_model(str(weights))
    if failed:
        raise WeightsError(f"ncnn cannot read {param}", "it is damaged, or needs a newer ncnn")
    return net, pools


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
