"""Several devices: what `--device` names, and who of several workers has which."""

import os
from collections.abc import Mapping

from srcli.engine.device import count_threads, may_have_gpu, select_device
from srcli.errors import UsageError
from srcli.workers.config import PoolConfig
from srcli.workers.slot import Slot

ALL = "all"


def list_devices(device: str | None) -> list[str]:
    """The devices that `--device` names, one or several; none where it is left to each network.

    `all` are the GPUs, where there are several. Raises `UsageError` for what is not on this machine.

    >>> listed("cpu"), listed("cpu,cpu"), listed(None)
    (['cpu'], ['cpu', 'cpu'], [])
    """
    if device == ALL:
        return _every_gpu()
    names = [name.strip() for name in device.split(",")] if device else []
    for name in dict.fromkeys(names):
        if name != "cpu":
            select_device(name)
    return names


def configure_pool(
    device: str | None, workers: int | None, ray: str | None, jobs: int | None = None
) -> PoolConfig:
    """Who does so many jobs, by `--device`, `--workers` and `--ray`; unknown how many, where None is given.

    >>> team("cpu", None, None).alone, team("cpu", 2, None).alone, team(None, 2, None, jobs=1).alone
    (True, False, True)
    """
    if ray is not None:
        return PoolConfig((), ray, _for_ray(device), workers, count_threads())
    several = (workers or 1) > 1 or device == ALL or "," in (device or "")
    return PoolConfig(tuple(assign_slots(device, workers, jobs))) if several else PoolConfig()


def _for_ray(device: str | None) -> str | None:
    if device and set(device) & set(":,"):
        raise UsageError("which GPU a worker has is Ray's choice", "say only --device cuda, or leave it out")
    return None if device == ALL else device


def assign_slots(device: str | None, workers: int | None = None, jobs: int | None = None) -> list[Slot]:
    """A place for each worker, no more than there are jobs: on each device named, or on these in turn.

    Workers that nobody told a device share the GPUs, if there are several. Each has its share of the cores.
    """
    untold = device in (None, ALL)
    named = _every_gpu() if device is None else list_devices(device)
    number = workers or max(1, len(named))
    number = number if jobs is None else min(number, max(1, jobs))
    share = {"OMP_NUM_THREADS": str(max(1, count_threads() // number)), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return [_seat(named[k % len(named)] if named else "", untold, share) for k in range(number)]


def _seat(device: str, untold: bool, share: Mapping[str, str]) -> Slot:
    """A GPU is the only one that its worker sees, so that what it writes is the same on any of them."""
    kind, colon, index = device.partition(":")
    if kind != "cuda" or not colon:
        return Slot(device or None, share)
    return Slot(None if untold else kind, {**share, "CUDA_VISIBLE_DEVICES": list_gpus()[int(index)]})


def _every_gpu() -> list[str]:
    """All of CUDA's, where there are several."""
    gpus = list_gpus()
    return [f"cuda:{number}" for number in range(len(gpus))] if len(gpus) > 1 else []


def list_gpus() -> list[str]:
    """CUDA's GPUs by what CUDA_VISIBLE_DEVICES calls them."""
    if not may_have_gpu():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def resolve_devices(device: str | None) -> str | None:
    """`--device` for one process: `all` by their names; None where there is nothing to choose from.

    >>> resolved("cuda:1,cpu"), resolved(None)
    ('cuda:1,cpu', None)
    """
    return ",".join(_every_gpu()) or None if device == ALL else device
