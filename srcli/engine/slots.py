"""Several devices: what `--device` names, and which worker gets which."""

import os
from collections.abc import Mapping

from srcli.engine import vulkan
from srcli.engine.device import count_threads, may_have_gpu, select_device
from srcli.engine.measurements import describe_machine
from srcli.errors import UsageError
from srcli.workers.config import PoolConfig
from srcli.workers.slot import Slot

ALL, AUTO = "all", "auto"


def list_devices(device: str | None) -> list[str]:
    """Return the devices that `--device` names; none if each network chooses for itself.

    `all` stands for the GPUs, if there are several. Raises `UsageError` for a device that is not there.

    >>> list_devices("cpu"), list_devices("cpu,cpu"), list_devices(None)
    (['cpu'], ['cpu', 'cpu'], [])
    """
    if device == ALL:
        return _list_several_gpus()
    device = None if device == AUTO else device
    names = [name.strip() for name in device.split(",")] if device else []
    for name in dict.fromkeys(names):
        if vulkan.is_vulkan(name):
            vulkan.find_gpu(name)
        elif name != "cpu":
            select_device(name)
    return names


def configure_pool(
    device: str | None, workers: int | None, ray: str | None, jobs: int | None = None
) -> PoolConfig:
    """Return the workers that `--device`, `--workers` and `--ray` ask for; `jobs` is None if not yet known.

    >>> pools = [configure_pool("cpu", None, None), configure_pool("cpu", 2, None)]
    >>> [pool.is_single for pool in pools]
    [True, False]
    """
    if ray is not None:
        return PoolConfig((), ray, _for_ray(device), workers, count_threads())
    several = (workers or 1) > 1 or device == ALL or "," in (device or "")
    return PoolConfig(tuple(assign_slots(device, workers, jobs))) if several else PoolConfig()


def _for_ray(device: str | None) -> str | None:
    if device and set(device) & set(":,"):
        raise UsageError(
            "Ray chooses the GPU of each worker", "use --device cuda without a number, or leave it out"
        )
    return None if device in (ALL, AUTO) else device


def assign_slots(device: str | None, workers: int | None = None, jobs: int | None = None) -> list[Slot]:
    """Return a slot for each worker, at most one per job, on the devices named in turn.

    If no device is named, workers share the GPUs, if there are several. Each gets its share of the cores.
    """
    device = None if device == AUTO else device
    unnamed = device in (None, ALL)
    named = _list_several_gpus() if device is None else list_devices(device)
    number = workers or max(1, len(named))
    number = number if jobs is None else min(number, max(1, jobs))
    share = {"OMP_NUM_THREADS": str(max(1, count_threads() // number)), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return [_create_slot(named[k % len(named)] if named else "", unnamed, share) for k in range(number)]


def _create_slot(device: str, unnamed: bool, share: Mapping[str, str]) -> Slot:
    """Return a slot; a worker sees only its own GPU, so that results do not depend on which it is."""
    kind, colon, index = device.partition(":")
    if kind != "cuda" or not colon:
        return Slot(device or None, share)
    return Slot(None if unnamed else kind, {**share, "CUDA_VISIBLE_DEVICES": list_gpus()[int(index)]})


def _list_several_gpus() -> list[str]:
    """Return all CUDA devices if there are several."""
    gpus = list_gpus()
    return [f"cuda:{number}" for number in range(len(gpus))] if len(gpus) > 1 else []


def list_gpus() -> list[str]:
    """Return the GPUs of CUDA by their names in CUDA_VISIBLE_DEVICES."""
    if not may_have_gpu():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def describe_devices() -> list[tuple[str, str]]:
    """Return the devices of this machine: the names that `--device` takes, and what they are."""
    found = [("cpu", describe_machine())]
    if may_have_gpu():
        import torch

        count = torch.cuda.device_count()
        found += [(f"cuda:{number}", torch.cuda.get_device_name(number)) for number in range(count)]
        found += [("mps", "Apple GPU")] if torch.backends.mps.is_available() else []
    return found + [(gpu.name, f"{gpu.model}, {gpu.kind}") for gpu in vulkan.list_gpus()]


def resolve_devices(device: str | None) -> str | None:
    """Return `--device` for one process, with `all` replaced by names; None if there is no choice.

    >>> resolve_devices("cuda:1,cpu"), resolve_devices("auto"), resolve_devices(None)
    ('cuda:1,cpu', None, None)
    """
    if device == AUTO:
        return None
    return ",".join(_list_several_gpus()) or None if device == ALL else device
