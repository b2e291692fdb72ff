"""Images shared among processes; one worker is a plain loop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue

from srcli.bench import work
from srcli.bench.plan import Plan, Unit
from srcli.bench.work import Scored
from srcli.engine import device
from srcli.errors import SrError

Done = Mapping[Unit, frozenset[str]]


def all_scores(plan: Plan, units: list[Unit], done: Done, processes: int) -> Generator[tuple[Unit, Scored]]:
    """Every score that is not `done`, as it comes."""
    left = [u for u in units if not {each.name for each in plan.field.at(u.scale)} <= done[u]]
    if processes > 1 and len(left) > 1:
        yield from _side_by_side(plan, left, done, min(processes, len(left)))
        return
    for unit in left:
        for score in work.scores(plan, unit, done[unit]):
            yield unit, score


def _side_by_side(
    plan: Plan, units: list[Unit], done: Done, processes: int
) -> Generator[tuple[Unit, Scored]]:
    """Fresh processes, each with its share of the cores, and a GPU of its own where there are several."""
    context = multiprocessing.get_context("spawn")
    gpus: SimpleQueue[str] = context.SimpleQueue()
    for number in range(processes):
        gpus.put(gpu_of(number, visible_gpus() if plan.field.options.device is None else []))
    threads = max(1, device.threads() // processes)
    with ProcessPoolExecutor(processes, context, _begin, (threads, gpus)) as pool:
        futures = {pool.submit(_unit_scores, plan, unit, done[unit]): unit for unit in units}
        try:
            for future in as_completed(futures):
                for score in future.result():
                    yield futures[future], score
        except BrokenProcessPool as error:
            hint = "it may have needed more memory than there is: take fewer --workers"
            raise SrError("a worker process was ended by the system", hint) from error
        except (KeyboardInterrupt, GeneratorExit):
            # What they have in hand may take minutes; nobody waits for it.
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def gpu_of(number: int, gpus: list[str]) -> str:
    """Which GPU the worker of that number has; "" for what it finds itself.

    >>> [gpu_of(number, ["0", "3"]) for number in range(3)], gpu_of(1, ["0"])
    (['0', '3', '0'], '')
    """
    return gpus[number % len(gpus)] if len(gpus) > 1 else ""


def visible_gpus() -> list[str]:
    """CUDA's GPUs by what CUDA_VISIBLE_DEVICES calls them."""
    if not device.gpu_likely():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _begin(threads: int, gpus: "SimpleQueue[str]") -> None:
    """What a worker does first, before torch is loaded; it ends with the process that began it."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    gpu = gpus.get()
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


def _unit_scores(plan: Plan, unit: Unit, done: frozenset[str]) -> list[Scored]:
    return list(work.scores(plan, unit, done))
