"""GPUs that ncnn can use through Vulkan, listed without what ncnn prints on its own."""

import ctypes
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path

from srcli.dataclass import dataclass
from srcli.errors import UsageError
from srcli.storage.silence import silence_stderr

KIND = "vulkan"
# The kinds of GPUs by ncnn's numbers; the last one is a processor that acts as a GPU, like Mesa's llvmpipe.
_KINDS = ("discrete", "integrated", "virtual", "software")
_LOADERS = {"linux": "libvulkan.so.1", "win32": "vulkan-1.dll"}
_HINT = "install the GPU's driver; on Debian: apt install libvulkan1 mesa-vulkan-drivers"


@dataclass(frozen=True)
class VulkanGpu:
    """A GPU; `driver` is the driver's version, `memory` what one process may take of it, in bytes."""

    number: int
    model: str
    kind: str
    driver: int
    memory: int

    @property
    def name(self) -> str:
        """The name that `--device` takes."""
        return f"{KIND}:{self.number}"

    @property
    def is_software(self) -> bool:
        """True if a processor computes what a GPU would."""
        return self.kind == _KINDS[-1]

    def __str__(self) -> str:
        return f"{self.name} {self.model}, {self.kind}"


def is_vulkan(device: str | None) -> bool:
    """Return whether a device is named as one of Vulkan's.

    >>> is_vulkan("vulkan"), is_vulkan("vulkan:1"), is_vulkan("cuda"), is_vulkan(None)
    (True, True, False, False)
    """
    return (device or "").partition(":")[0] == KIND


def find_gpu(device: str) -> VulkanGpu:
    """Return the GPU called `vulkan` or `vulkan:N`. Raises `UsageError` if it does not exist."""
    if importlib.util.find_spec("ncnn") is None:
        raise UsageError("Vulkan needs ncnn, which is not installed", "`pip install ncnn`")
    if not _has_loader():
        raise UsageError("no Vulkan loader found", _HINT)
    gpus = list_gpus()
    if not gpus:
        raise UsageError("Vulkan finds no GPU", _HINT)
    _, colon, index = device.partition(":")
    if not colon:
        return min(gpus, key=lambda gpu: _KINDS.index(gpu.kind))
    found = next((gpu for gpu in gpus if str(gpu.number) == index), None)
    if found is None:
        raise UsageError(f"no device called '{device}'", f"this machine has {'; '.join(map(str, gpus))}")
    return found


def find_real_gpu() -> VulkanGpu | None:
    """Return the best GPU that is no software; looked for only where there may be one."""
    if not _may_have_gpu():
        return None
    real = [gpu for gpu in list_gpus() if not gpu.is_software]
    return min(real, key=lambda gpu: _KINDS.index(gpu.kind), default=None)


@lru_cache(maxsize=1)
def list_gpus() -> tuple[VulkanGpu, ...]:
    """Return the GPUs that Vulkan finds, which takes a third of a second."""
    if importlib.util.find_spec("ncnn") is None or not _has_loader():
        return ()
    import ncnn

    with silence_stderr():
        return tuple(_describe_gpu(number) for number in range(max(0, ncnn.get_gpu_count())))


def _describe_gpu(number: int) -> VulkanGpu:
    import ncnn

    info = ncnn.get_gpu_info(number)
    memory = ncnn.get_gpu_device(number).get_heap_budget() * 2**20
    kind = _KINDS[min(max(info.type(), 0), len(_KINDS) - 1)]
    return VulkanGpu(number, info.device_name(), kind, info.driver_version(), memory)


def _has_loader() -> bool:
    if sys.platform not in _LOADERS:  # ncnn for macOS brings one
        return True
    try:
        ctypes.CDLL(_LOADERS[sys.platform])
    except OSError:
        return False
    return True


def _may_have_gpu() -> bool:
    """Return whether this machine may have a GPU, judged by device files where there are such."""
    if not sys.platform.startswith("linux"):
        return True
    nodes = ("/dev/nvidiactl", "/dev/dxg")
    return any(map(os.path.exists, nodes)) or any(Path("/dev/dri").glob("renderD*"))
