"""Where a network runs and in what precision: decided once, with the reason."""

import contextlib
import ctypes
import math
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import UsageError

# The numbers of mallopt's settings in malloc.h.
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
    """The device asked for, else CUDA, MPS or CPU, the first that is there; in single precision."""
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind = (requested or next(name for name, there in available.items() if there)).split(":")[0]
    if kind not in available:
        raise UsageError(f"no device called '{requested}'", "known: cpu, cuda, cuda:N, mps")
    if not available[kind]:
        raise UsageError(f"{kind} is not available on this machine", "use --device cpu or leave it out")
    _check_index(requested, torch.cuda.device_count() if kind == "cuda" else 1)
    reason = "asked for" if requested else "fastest found here" if kind != "cpu" else "no GPU found"
    return Device(requested or kind, "float32", reason)


def _check_index(requested: str | None, count: int) -> None:
    _, colon, index = (requested or "").partition(":")
    if colon and not (index.isdigit() and int(index) < count):
        raise UsageError(f"no device called '{requested}'", f"this machine has {count} of that kind")


def may_have_gpu() -> bool:
    """Whether this machine may have a GPU that torch can use: asked of the system, without loading torch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    nodes = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA's driver, AMD's, and Windows' under Linux
    return any(map(os.path.exists, nodes)) or shutil.which("nvidia-smi") is not None


def count_threads() -> int:
    """OMP_NUM_THREADS, else the cores that are ours: those we may run on, within the cgroup's quota."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows pin nothing
        cores = os.cpu_count() or 1
    quota = _quota(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(cores, quota)))


def _quota(mount: Path, membership: Path) -> float:
    """Cores that the cgroups of this process and those above them may use; infinite where unlimited."""
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
    """What one cgroup may use: `cpu.max` of the second version, two files of the first."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.inf if int(quota) <= 0 else int(quota) / int(period)
    return math.inf


def limit_spinning() -> None:
    """Tell GNU's OpenMP to sleep soon while threads wait for each other; it spins for milliseconds by itself.

    Where other programs use the cores too, those that spin keep away the one that is waited for: that cost
    half of an enlargement's time. To be called before what is built on it is loaded; what is set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def keep_freed_memory() -> None:
    """Tell glibc to keep large blocks that are freed, instead of giving them back to the kernel.

    Networks free and take such blocks all the time, and page faults then cost up to half of it. All threads
    take them from one place: in those that glibc makes for each, no more than 64 MB is ever kept. Elsewhere,
    and where the user has set it, nothing is done.
    """
    if not sys.platform.startswith("linux") or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return
    with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_ARENA_MAX, 1)


def release_memory() -> None:
    """What is freed but kept, see `keep_freed_memory`, goes back to the kernel now."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def check_bfloat16(device: Device) -> None:
    """Raise `UsageError` for processors that would take far longer in bfloat16 than in single precision."""
    import torch

    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.name == "cpu" and not (able.get("avx512_bf16", True) or able.get("amx_bf16", True)):
        raise UsageError("this processor has no instructions for bfloat16", "leave precision at float32")
