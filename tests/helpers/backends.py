"""A device that runs batches asynchronously, with and without a GPU."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from srcli.engine.device import Device
from srcli.engine.runtimes.backends import CpuBackend, DeviceBackend, Forward
from srcli.engine.runtimes.cuda import CudaBackend
from srcli.engine.runtimes.torch import TorchRuntime, prepare, select_backend


@dataclass
class FakeAsyncBackend(CpuBackend):
    """The CPU driven like a GPU: several batches at a time, and steps that can be recorded."""

    prefetch: int = 2
    uniform_tiles: bool = True
    recorded: list[tuple[int, ...]] = field(default_factory=list)

    def capture(self, forward: Forward, batch: Tensor) -> Forward | None:
        """Record like a CUDA graph: its input and output stay where they are in memory."""
        given, made = batch.clone(), forward(batch).clone()
        self.recorded.append(tuple(batch.shape))

        def replay(batch: Tensor) -> Tensor:
            given.copy_(batch)
            made.copy_(forward(given))
            return made.clone()

        return replay


def select_cuda_backend() -> DeviceBackend:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return select_backend(Device("cuda", "float32", "test"))


BACKENDS = [FakeAsyncBackend, pytest.param(select_cuda_backend, marks=pytest.mark.gpu)]


def prepare_on(drive: DeviceBackend, network: nn.Module, scale: int, dtype: str = "float32") -> TorchRuntime:
    name = "cuda" if isinstance(drive, CudaBackend) else "cpu"
    return prepare(network, scale, Device(name, dtype, "test"), backend=drive)
