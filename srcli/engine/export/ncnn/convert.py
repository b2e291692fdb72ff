"""Conversion of a network to ncnn, compared with torch before it is used."""

import tempfile
from pathlib import Path

from torch import nn

from srcli.engine.device import count_threads
from srcli.engine.export.check import SIZES, TINY_SIZES, Difference, compare_with_torch
from srcli.engine.export.ncnn import writer
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.converted import ConvertedNetwork
from srcli.engine.runtimes.ncnn import prepare


def convert_network(network: nn.Module, scale: int) -> tuple[ConvertedNetwork, Difference]:
    """Return the network for ncnn, and how far it is from torch; `scale` is that of its own tensors.

    Raises `UnexportableError` if ncnn cannot run it, or computes something else.
    """
    network_files = writer.write_network(network.eval().float(), scale)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        converted.write(path, network_files, "")
        found = converted.read(path)
        assert found is not None
        runtime = prepare(found, count_threads())
        difference = compare_with_torch(
            network, lambda pixels: next(iter(runtime.run([pixels]))), SIZES + TINY_SIZES
        )
        return network_files, difference
