"""The device and precision a network runs in, chosen once, with the reason; threads and memory settings."""

import contextlib
import ctypes
import math
import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from srcli.dataclass import dataclass
from srcli.errors import UsageError

# The numbers of mallopt's parameters in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


@dataclass(frozen=True)
class Device:
    """A torch device name, a torch dtype name, and why they were chosen."""

    name: str
    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype} ({self.reason})"


def select_device(requested: str | None = None) -> Device:
    """Return the requested device, else the first available of CUDA, MPS and CPU, in single precision."""
    if (requested or "").partition(":")[0] == "vulkan":
        raise UsageError("PyTorch cannot use Vulkan", "only upscaling by ncnn can; use another --device")
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind = (requested or next(name for name, there in available.items() if there)).split(":")[0]
    if kind not in available:
        raise UsageError(f"no device called '{requested}'", "known: cpu, cuda, cuda:N, mps, vulkan, vulkan:N")
    if not available[kind]:
        raise UsageError(f"{kind} is not available on this machine", "use --device cpu or leave it out")
    _check_index(requested, torch.cuda.device_count() if kind == "cuda" else 1)
    reason = "requested" if requested else "fastest available" if kind != "cpu" else "no GPU found"
    return Device(requested or kind, "float32", reason)


def _check_index(requested: str | None, count: int) -> None:
    _, colon, index = (requested or "").partition(":")
    if colon and not (index.isdecimal() and int(index[:9]) < count):
        raise UsageError(f"no device called '{requested}'", f"this machine has {count} of that kind")


def may_have_gpu() -> bool:
    """Return whether this machine may have a GPU that torch can use, judged without loading torch."""
    if find_spec("torch") is None:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    nodes = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, and Windows' under Linux
    return any(map(os.path.exists, nodes)) or shutil.which("nvidia-smi") is not None


def count_threads() -> int:
    """Return OMP_NUM_THREADS, else the number of cores this process may use, within its cgroup's quota."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and 0 < int(asked[:9]) < 10**6:
        return int(asked)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows pin nothing
        cores = os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(cores, quota)))


def _quota(mount: Path, membership: Path) -> float:
    """Return the cores that this process's cgroups and those above them may use; infinite if unlimited."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return math.inf
    limits = [math.inf]
    for _, controllers, place in (line.split(":", 2) for line in lines):
        if controllers == "" or "cpu" in controllers.split(","):
            own = mount / controllers / place.strip("/")
            limits += [_limit(folder) for folder in (own, *own.parents) if folder.is_relative_to(mount)]
    return min(limits)


def _limit(folder: Path) -> float:
    """Return the limit of one cgroup: `cpu.max` in version 2, two files in version 1."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.inf if int(quota) <= 0 else int(quota) / int(period)
    return math.inf


def limit_spinning() -> None:
    """Tell GNU OpenMP to sleep soon while threads wait for each other; by default it spins for milliseconds.

    If other programs use the cores too, spinning threads keep the awaited one from running, which took half
    of the time of an upscale. Call it before libraries that use OpenMP are loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks instead of returning them to the kernel.

    Networks allocate and free such blocks all the time, and page faults can take up to half of the time. All
    threads share one arena, because an arena per thread keeps no more than 64 MB. Does nothing on other
    systems, or if the user has set MALLOC_TRIM_THRESHOLD_.
    """
    if not sys.platform.startswith("linux") or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_ARENA_MAX, 1)


def release_memory() -> None:
    """Return to the kernel the freed blocks that `keep_freed_memory` keeps."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def has_bfloat16_matrices(device: Device) -> bool:
    """Return True for a processor with matrix instructions for bfloat16 (AMX), several times as fast."""
    return device.name == "cpu" and _find_instructions().get("amx_bf16", False)


def _find_instructions() -> dict[str, bool]:
    import torch

    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return able


def check_bfloat16(device: Device) -> None:
    """Raise `UsageError` if this processor is far slower in bfloat16 than in single precision."""
    able = _find_instructions()
    if device.name == "cpu" and not (able.get("avx512_bf16", True) or able.get("amx_bf16", True)):
        raise UsageError("this processor has no instructions for bfloat16", "use float32")
