"""Foreign ncnn pairs: the facts that running one needs, from its layers if sr knows them, else by a probe.

    python -m srcli.engine.runtimes.ncnn_pair PARAM SIDE CHANNELS

prints what a square image becomes. ncnn can crash on sides that a network cannot take, so a probe runs it
in a process of its own.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from srcli.engine.device import count_threads
from srcli.engine.runtimes import probing
from srcli.engine.runtimes.base import NetworkInfo, RuntimeRequest
from srcli.engine.runtimes.ncnn import NcnnNetwork, NcnnRuntime, open_network
from srcli.engine.runtimes.probing import Findings, Shape
from srcli.engine.sample_photo import crop_photo
from srcli.engine.vulkan import find_gpu, is_vulkan
from srcli.engine.weights.ncnn import Graph, hash_weights, identify_graph, read_graph
from srcli.errors import UsageError
from srcli.imaging.pixels import Pixels
from srcli.workers.progress import Log, ignore

# Seconds that one small image may take.
_PATIENCE = 300


def load_pair(param: Path, request: RuntimeRequest, reason: str | None = None) -> NcnnRuntime:
    """Return a pair ready to run on the CPU or by Vulkan.

    Raises `SrError` if it is no upscaler, or damaged.
    """
    if request.device not in (None, "cpu") and not is_vulkan(request.device):
        raise UsageError(f"ncnn runs {param.name} on the CPU and by Vulkan only", "leave out --device")
    if is_vulkan(request.device):
        find_gpu(request.device or "")  # first, as a wrong name should cost nothing
    graph = read_graph(param)
    network = _as_network(graph, examine_pair(graph, request.log))
    return open_network(network, request, reason, "it is an ncnn file")


def _as_network(graph: Graph, found: Findings) -> NcnnNetwork:
    blobs = (graph.input, graph.output)
    return NcnnNetwork(found.info, graph.param, graph.bin, blobs, found.values.peak, graph.pools)


def examine_pair(graph: Graph, log: Log = ignore) -> Findings:
    """Return the facts that running a pair needs; a probe is announced, as it takes seconds."""
    known = identify_graph(graph)
    if known:
        facts = {"margin": known.margin, "alignment": known.alignment, "side_multiple": known.alignment}
        return Findings(NetworkInfo(known.spec.scale, known.halo, params=graph.count_weights(), **facts))

    def probe() -> Findings:
        log(f"trying {graph.param.name}, once, to find its scale and sizes")
        return _probe(graph)

    return probing.find_once(hash_weights(graph.param), probe)


def describe_pair(graph: Graph) -> str:
    """Return the network of ours that a pair is of; else the facts found by a probe."""
    known = identify_graph(graph)
    return str(known.spec) if known else f"ncnn: {examine_pair(graph)}"


def _probe(graph: Graph) -> Findings:
    opened = _as_network(graph, Findings(NetworkInfo(1, 0))).open(count_threads())

    def run(found: Findings, pixels: Pixels) -> Pixels:
        runtime = replace(opened, info=found.info, peak=found.values.peak)
        # Means over the image are given to tiles, so they are no part of the halo.
        sample = crop_photo(*pixels.shape)
        return next(runtime.with_global_stats([sample]).run([pixels]))

    shapes, name = _Shapes(graph.param), graph.param.name
    shapes.channels = graph.channels or shapes.find_channels()
    info = replace(probing.find_geometry(name, shapes.measure), channels=shapes.channels)
    found = Findings(replace(info, params=graph.count_weights()))
    return probing.probe_values_and_halo(name, found, run)


@dataclass
class _Shapes:
    """The shapes that images of some sides become, found in another process and kept."""

    param: Path
    channels: int = 3
    known: dict[tuple[int, int], Shape | None] = field(default_factory=dict)

    def measure(self, side: int) -> Shape | None:
        """Return the output shape for a square image with this side, or None if the network rejects it."""
        key = (self.channels, side)
        if key not in self.known:
            self.known[key] = self._run(side)
        return self.known[key]

    def find_channels(self) -> int:
        """Return how many channels the network takes if its graph does not say it."""
        for self.channels in (3, 1):
            if any(self.measure(side) for side in (32, 64, 128)):
                return self.channels
        return 3

    def _run(self, side: int) -> Shape | None:
        command = [sys.executable, "-m", __spec__.name, str(self.param), str(side), str(self.channels)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
            channels, height, width = json.loads(done.stdout)
        except (ValueError, subprocess.TimeoutExpired):
            return None
        return (height, width, channels) if channels == self.channels else None


def main() -> None:
    """Print the shape (channels, height, width) that a square image becomes."""
    param, side, channels = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    graph = read_graph(param)
    runtime = _as_network(graph, Findings(NetworkInfo(1, 0))).open(count_threads())
    (out,) = runtime.forward(np.full((side, side, channels), 0.5, np.float32), (graph.output,))
    print(json.dumps(out.shape))  # noqa: T201


if __name__ == "__main__":
    main()
