"""TorchScript: the network traced, with its weights, for torch.jit.load in Python and C++."""

import io
import warnings
from pathlib import Path

import torch
from torch import nn

from srcli.engine.export import UnexportableError, check_fixed_graph
from srcli.engine.export.check import SIZES, Difference, compare_with_torch, crop_for
from srcli.engine.runtimes.torch import to_batch, to_pixels


def write(network: nn.Module, path: Path) -> Difference:
    """Write the network, read it back and compare it with torch.

    Raises `UnexportableError` if tracing fails, or the trace holds for one size only.
    """
    check_fixed_graph(network)
    example = to_batch(crop_for(network, *SIZES[0]))
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # It warns that it is deprecated, and of each comparison of sizes; other sizes are tested below.
            warnings.simplefilter("ignore")
            data = io.BytesIO()
            torch.jit.save(torch.jit.trace(network, example, check_trace=False), data)  # type: ignore[no-untyped-call]
            path.write_bytes(data.getbuffer())  # on a full disk, torch itself would end the process
            read = torch.jit.load(path)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise UnexportableError(f"torch cannot trace it: {str(error).strip().splitlines()[0]}") from error
    return compare_with_torch(network, lambda pixels: to_pixels(read(to_batch(pixels))))
