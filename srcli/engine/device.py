"""Where a network runs and in what precision: decided once, with the reason."""

from dataclasses import dataclass

from srcli.errors import UsageError


@dataclass(frozen=True)
class Device:
    """A torch device name, a torch dtype name, and why they were chosen."""

    name: str
    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}, {self.dtype} ({self.reason})"


def choose(requested: str | None = None, half_safe: bool = False) -> Device:
    """The device asked for, else CUDA, MPS or CPU, the first that is there.

    `half_safe` is the network's trait; half precision is used on CUDA only, where it is proven.
    """
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
    half = kind == "cuda" and half_safe
    return Device(requested or kind, "float16" if half else "float32", reason)


def _check_index(requested: str | None, count: int) -> None:
    _, colon, index = (requested or "").partition(":")
    if colon and not (index.isdigit() and int(index) < count):
        raise UsageError(f"no device called '{requested}'", f"this machine has {count} of that kind")
