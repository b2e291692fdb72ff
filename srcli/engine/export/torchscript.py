"""TorchScript: the network traced, with its weights, for torch.jit.load in Python and C++."""

import warnings
from pathlib import Path

import torch
from torch import nn

from srcli.engine.export import Unexportable, check_undivided
from srcli.engine.export.check import SIZES, Difference, difference, patch
from srcli.engine.runtimes.torch import to_batch, to_pixels


def write(network: nn.Module, path: Path) -> Difference:
    """Write the network, and compare what is read back with it.

    Raises `Unexportable` where tracing fails, or what is traced holds for one size only.
    """
    check_undivided(network)
    example = to_batch(patch(*SIZES[0], network))
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # It warns of its own age, and of each comparison of sizes: that other sizes do is checked below.
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(network, example, check_trace=False), path)  # type: ignore[no-untyped-call]
            read = torch.jit.load(path)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise Unexportable(f"torch cannot trace it: {str(error).strip().splitlines()[0]}") from error
    return difference(network, lambda pixels: to_pixels(read(to_batch(pixels))))
