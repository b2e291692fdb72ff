"""What a method costs for an output of 1280x720: multiply-adds, and peak memory in a process of its own."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from srcli.bench.lineup import BenchMethod, Lineup
from srcli.bench.results import Results, Row
from srcli.errors import SrError
from srcli.methods import MethodOptions
from srcli.scales import ANY

_HEIGHT, _WIDTH = 720, 1280
_MIB = 2**20


def with_costs(results: Results, field: Lineup) -> Results:
    """The same rows with what their methods cost, where it can be told."""
    known = {entrant.name: entrant for entrant in field.entrants}
    rows = tuple(_with_costs(row, known[row.method], field.options) for row in results.rows)
    return replace(results, rows=rows)


def _with_costs(row: Row, entrant: BenchMethod, options: MethodOptions) -> Row:
    work, memory = multiply_adds(entrant, row.scale), peak_memory(entrant, row.scale, options)
    return replace(row, multiply_adds=work, memory=memory)


@lru_cache(maxsize=256)
def multiply_adds(entrant: BenchMethod, scale: float) -> int | None:
    """Of the network, as papers count them; None for what has none or can't be counted."""
    from srcli.engine import complexity

    spec = entrant.spec(scale)
    if spec is None or spec.scale == ANY:
        return None
    try:
        return complexity.cost(spec, _HEIGHT, _WIDTH).multiply_adds
    except (NotImplementedError, RuntimeError):  # an operation that works on values, not on shapes alone
        return None


@lru_cache(maxsize=256)
def peak_memory(entrant: BenchMethod, scale: float, options: MethodOptions) -> float | None:
    """In MiB, of the GPU where one is used, else of a process that does nothing else.

    None where the system does not tell, and where the process comes to an end.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(_measured, entrant, scale, options).result()
        except (BrokenProcessPool, SrError, MemoryError):
            return None


def _measured(entrant: BenchMethod, scale: float, options: MethodOptions) -> float | None:
    """In the process of its own: enlarge an image of grey noise, then ask."""
    height, width = math.ceil(_HEIGHT / scale), math.ceil(_WIDTH / scale)
    noise = np.random.default_rng(0).random((height, width, 1), np.float32)
    method = entrant.method(scale, options)
    method(np.repeat(noise, 3, axis=2), scale)
    if method.description.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(method.description.partition(",")[0]) / _MIB
    return resident_peak()


def resident_peak() -> float | None:
    """The most memory that this process has had, in MiB; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return _resource_peak()
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1024 if peaks else None


def _resource_peak() -> float | None:
    """As macOS tells it, in bytes; Windows has no such module."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
