"""Free memory, and the memory that something takes, as the kernel reports it."""

import contextlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcli.dataclass import dataclass
from srcli.errors import UsageError

_LEAST_VRAM = 64 * 2**20
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> float:
    """Return the bytes this process could still allocate without swapping; infinite if unknown."""
    return min(_available(proc), _free_in_cgroup(cgroup / "memory.max", cgroup / "memory.current"))


def _available(proc: Path) -> float:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (proc / "meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    return math.inf


def _free_in_cgroup(limit: Path, used: Path) -> float:
    """Return what is left of a cgroup's limit, with cached files counted as free."""
    with contextlib.suppress(OSError, ValueError):
        cache = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        return int(limit.read_text()) - int(used.read_text()) + int(cache.get("file", 0))
    return math.inf


def parse_bytes(text: str) -> int:
    """Return the bytes written as `6G`, `1.5 GB`, `800MiB` or a plain number. Raises `UsageError`.

    >>> parse_bytes("6G") == 6 * 2**30, parse_bytes("1.5 mb"), parse_bytes("4096")
    (True, 1572864, 4096)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", text.upper())
    amount = float(found[1]) * 2 ** _UNITS[found[2]] if found else 0.0
    count = int(amount) if amount < 2**63 else 0
    if count == 0:
        raise UsageError(f"'{text}' is not an amount of memory", "write it as 6G or 800M")
    return count


def parse_vram(text: str) -> int:
    """Return a limit on the memory of a GPU in bytes. Raises `UsageError` for less than any network needs."""
    count = parse_bytes(text)
    if count < _LEAST_VRAM:
        raise UsageError(f"--vram {text} is too little memory for a GPU", "use 64M or more")
    return count


@dataclass
class Peak:
    """The most bytes that were resident; 0 if unknown."""

    bytes: int = 0


@contextmanager
def watch_peak() -> Iterator[Peak]:
    """Measure the peak of the process within the context, all that was resident before included."""
    peak = Peak()
    with contextlib.suppress(OSError):
        (_PROC / "self" / "clear_refs").write_text("5")
    yield peak
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "self" / "status").read_text().splitlines()
        peak.bytes = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
