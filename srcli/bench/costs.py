"""The cost of a method for an output of 1280x720: multiply-adds, and peak memory in a process of its own."""

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from srcli.bench.lineup import BenchMethod, Lineup
from srcli.bench.results import Results
from srcli.errors import SrError
from srcli.methods import MethodOptions
from srcli.scales import ANY

_HEIGHT, _WIDTH = 720, 1280
_MIB = 2**20


def add_costs(results: Results, lineup: Lineup) -> Results:
    """Return the results with the costs of each row's method, as far as they can be measured."""
    known = {method.name: method for method in lineup.methods}
    rows = tuple(
        replace(
            row,
            multiply_adds=count_multiply_adds(known[row.method], row.scale),
            memory=measure_peak_memory(known[row.method], row.scale, lineup.options),
        )
        for row in results.rows
    )
    return replace(results, rows=rows)


@lru_cache(maxsize=256)
def count_multiply_adds(method: BenchMethod, scale: float) -> int | None:
    """Return the multiply-adds of a network as papers count them; None if it cannot be counted."""
    from srcli.engine import complexity

    spec = method.find_spec(scale)
    if spec is None or spec.scale == ANY:
        return None
    try:
        return complexity.count_cost(spec, _HEIGHT, _WIDTH).multiply_adds
    except (NotImplementedError, RuntimeError):  # an operation that depends on values, not only on shapes
        return None


@lru_cache(maxsize=256)
def measure_peak_memory(method: BenchMethod, scale: float, options: MethodOptions) -> float | None:
    """Return the peak in MiB of the GPU if it is used, otherwise of a process that does nothing else.

    None if the system does not report it, or if the process dies.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(_measure_own_peak, method, scale, options).result()
        except (BrokenProcessPool, SrError, MemoryError):
            return None


def _measure_own_peak(method: BenchMethod, scale: float, options: MethodOptions) -> float | None:
    """Upscale an image of grey noise and return the peak of this process, which does nothing else."""
    height, width = math.ceil(_HEIGHT / scale), math.ceil(_WIDTH / scale)
    noise = np.random.default_rng(0).random((height, width, 1), np.float32)
    loaded = method.load(scale, options)
    loaded(np.repeat(noise, 3, axis=2), scale)
    if loaded.description.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(loaded.description.partition(",")[0]) / _MIB
    return read_peak_memory()


def read_peak_memory() -> float | None:
    """Return the peak resident memory of this process in MiB; None if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return _read_peak_from_getrusage()
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) / 1024 if peaks else None


def _read_peak_from_getrusage() -> float | None:
    """Return the peak as macOS reports it, in bytes; Windows has no such module."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
