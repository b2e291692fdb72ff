"""torch.compile for networks, in runs that are long enough to earn the minute it takes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from srcli.errors import SrError

Forward = Callable[..., Tensor]


def build_forward(network: nn.Module, device: str, compiled: bool) -> Forward:
    """Return the network, or torch.compile's version of it, on a GPU as a CUDA graph."""
    if not compiled:
        return network
    on_gpu = torch.device(device).type == "cuda"
    function: Forward = torch.compile(network, mode="reduce-overhead" if on_gpu else None)

    def forward(batch: Tensor) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            return function(batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            hint = "install a C++ compiler, or train with --set compile=false"
            raise SrError(f"the network can't be compiled: {reason}", hint) from error

    return forward
