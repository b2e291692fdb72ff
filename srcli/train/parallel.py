"""Training in several processes, started by torchrun; with a single process, nothing here has an effect."""

import logging
import os
import signal
from collections.abc import Sequence

import torch
from torch import distributed, nn

from srcli.errors import SrError

Lost = (RuntimeError, distributed.DistBackendError)


class ProcessLostError(SrError):
    """Another process of the run has ended, killed or by Ctrl-C."""


def join() -> None:
    """Connect to the other processes of torchrun, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `sr` with these arguments as several processes that torchrun connects; return the exit code.

    After Ctrl-C or SIGTERM, it waits until they have saved their state. Raises `SrError` if one was killed.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.ERROR)  # the processes say themselves what is wrong
    try:
        run.main(["--standalone", f"--nproc-per-node={processes}", "-m", "srcli", *arguments])
    except SignalException:
        return 128 + signal.SIGINT
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        reason = f"process {number} was ended by signal {-failure.exitcode}"
        raise SrError(reason, "continue with `sr train --resume FOLDER`") from error
    finally:
        logging.disable(logging.NOTSET)
    return 0


def leave() -> None:
    """Disconnect from the other processes."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def world() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def local_world() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if distributed.is_initialized() else 1


def is_first() -> bool:
    """Return whether this process is the one that validates, logs and saves."""
    return rank() == 0


def broadcast_decision(decision: bool) -> bool:
    """Return the first process's decision in all processes."""
    return bool(broadcast_numbers([float(decision)])[0])


def broadcast_numbers(numbers: Sequence[float]) -> list[float]:
    """Return the first process's numbers in all processes."""
    if world() == 1:
        return list(numbers)
    place = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    told = torch.tensor(numbers, device=place)
    distributed.broadcast(told, 0)
    return [float(number) for number in told]


def local_device(name: str | None) -> str | None:
    """Return this process's own device, if each has one."""
    if world() > 1 and torch.cuda.is_available() and name in (None, "cuda"):
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of all gradients, so that equal batches make one large one.

    Raises `ProcessLostError` if another process is gone.
    """
    if world() == 1:
        return
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    try:
        distributed.all_reduce(flat)
    except Lost as error:
        raise ProcessLostError(
            "another process of this run is gone", "continue with `sr train --resume FOLDER`"
        ) from error
    flat /= world()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
