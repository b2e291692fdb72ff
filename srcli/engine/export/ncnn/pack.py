"""Networks packed for the fast runtime, each compared with torch before it is used."""

import tempfile
from pathlib import Path

from torch import nn

from srcli.engine.device import threads
from srcli.engine.export.check import SIZES, TINY, Difference, difference
from srcli.engine.export.ncnn import writer
from srcli.engine.runtimes.ncnn import prepare
from srcli.engine.weights import ncnn_cache
from srcli.engine.weights.ncnn_cache import Packed


def pack(network: nn.Module, scale: int) -> tuple[Packed, Difference]:
    """The network for ncnn, and how far that is from torch. `scale` is that of its own tensors.

    Raises `Unexportable` where ncnn can't run it, or computes something else.
    """
    made = writer.write(network.eval().float(), scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        ncnn_cache.write(path, made, "")
        found = ncnn_cache.find(path)
        assert found is not None
        runtime = prepare(found, threads(), "")
        return made, difference(network, lambda pixels: next(iter(runtime.run([pixels]))), SIZES + TINY)
