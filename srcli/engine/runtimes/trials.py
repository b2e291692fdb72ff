"""Trials of the CPU libraries on a network that `speeds.json` does not have, kept for this machine.

Each library runs two small images. Real work replaces figures that it contradicts, as small images stay in
the cache and large ones do not.
"""

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from srcli.engine.device import count_threads
from srcli.engine.measurements import (
    describe_machine,
    measurement_path,
    read_measurement,
    write_measurement,
)
from srcli.engine.runtimes import ncnn
from srcli.engine.runtimes.base import (
    OutOfMemory,
    Runtime,
    RuntimeClass,
    RuntimeRequest,
    UnsupportedNetwork,
    WeightsSource,
)
from srcli.engine.runtimes.speeds import START, Times, interpolate_rate, read_table
from srcli.engine.sample_photo import crop_photo
from srcli.engine.weights.ncnn import count_operations, read_graph
from srcli.errors import WeightsError
from srcli.imaging.pixels import Pixels
from srcli.storage.hashing import hash_once

# The packages of the libraries that take part.
MODULES = {"ncnn": "ncnn", "opencv": "cv2", "onnxruntime": "onnxruntime", "openvino": "openvino"}
# What a run may take, and the sides of the images: the second is as large as the speed of the first allows.
_RUN_SECONDS, _SIDES, _ROUNDS = 0.05, (32, 192), 3
# Work that takes less is not worth a trial. Its time is estimated by what ncnn reaches on one core.
_PAYING_SECONDS, _OPERATIONS_A_SECOND = 3.0, 3e10
# Rounds of one shape that differ by more show that the machine is busy: the trial is not kept then.
_STEADY = 1.5
# Real work that differs by more replaces a figure, if it had this share of the processor.
_CONTRADICTION, _UNDISTURBED = 1.4, 0.7
# The largest difference of two libraries that compute in single precision.
_SAME = 1e-3

Load = Callable[[str], RuntimeClass]


@dataclass(frozen=True)
class SpeedRecord:
    """The file with the figures of a network, and the library that runs it."""

    path: Path
    library: str

    def correct(self, areas: list[int], seconds: float, processor_seconds: float) -> None:
        """Replace the figures if tiles of these numbers of pixels took quite another time.

        Work that was disturbed by other programs says nothing.
        """
        figures = _read(self.path)
        own, threads = figures.get(self.library), count_threads()
        if not own or processor_seconds < _UNDISTURBED * seconds * threads:
            return
        expected = sum(area * interpolate_rate(own, area) for area in areas) / threads
        if 1 / _CONTRADICTION < expected / seconds < _CONTRADICTION:
            return
        side = round(math.sqrt(sum(areas) / len(areas)))
        smaller = {key: value for key, value in own.items() if key == START or int(key) < side}
        rate = seconds * threads / sum(areas)
        _write(self.path, figures | {self.library: smaller | {str(side): rate * side**2}})


def find_speeds(
    source: WeightsSource, request: RuntimeRequest, pixels: int, load_class: Load
) -> tuple[Path | None, Mapping[str, Times]]:
    """Return the times of each library that runs the network, and their file; measured now if it pays.

    There are none if only one library can run it, or there is too little work.
    """
    able = [name for name in MODULES if load_class(name).reason_against(source, request) is None]
    if len(able) < 2 or "ncnn" not in able:
        return None, {}
    path = measurement_path(_list_facts(source, able))
    found: Mapping[str, Times] = _read(path)
    if not found and _is_worthwhile(source, request, pixels):
        from filelock import FileLock

        with ExitStack() as locks:
            with suppress(OSError):  # several processes would disturb each other's trials
                path.parent.mkdir(parents=True, exist_ok=True)
                locks.enter_context(FileLock(f"{path}.lock"))
            classes = {name: load_class(name) for name in able}
            found = _read(path) or _measure_all(source, request, classes, path)
    return path, found


def _list_facts(source: WeightsSource, libraries: Iterable[str]) -> tuple[object, ...]:
    """Return what the figures depend on; a library's version is known by the date of its files."""
    spec = source.spec
    files = [importlib.util.find_spec(MODULES[name]) for name in libraries]
    dates = [Path(each.origin).stat().st_mtime for each in files if each and each.origin]
    digest = source.digest or hash_once(source.path)
    network = (digest, spec.arch, spec.scale, spec.config)
    return ("libraries", *network, list(libraries), dates, count_threads(), describe_machine())


def _is_worthwhile(source: WeightsSource, request: RuntimeRequest, pixels: int) -> bool:
    try:
        graph = read_graph(Path(ncnn.find_converted(source, request).file("param")))
    except (UnsupportedNetwork, WeightsError):
        return False
    work = count_operations(graph) * pixels
    return work > _PAYING_SECONDS * _OPERATIONS_A_SECOND * count_threads()


def _measure_all(
    source: WeightsSource, request: RuntimeRequest, classes: Mapping[str, RuntimeClass], path: Path
) -> dict[str, Times]:
    """Return the times of each library whose results are ncnn's, and keep them if the machine was at rest."""
    what, begin = f"measuring libraries for {source.path.name}, once", perf_counter()
    request.wait(what, None)
    figures: dict[str, Times] = {}
    is_steady, expected = True, None
    for name, runtime_class in classes.items():
        start = process_time()
        try:
            runtime = runtime_class.load(source, request, None)
            seconds = process_time() - start
            result, times, steady = _measure(runtime)
        except (UnsupportedNetwork, WeightsError, OutOfMemory):
            continue
        expected = result if expected is None else expected
        if result.shape == expected.shape and np.abs(result - expected).max() <= _SAME:
            # A package that was imported before starts at once here, but not in the next process.
            figures[name] = {START: max(seconds, _find_usual_start(name)), **times}
            is_steady &= steady
    request.wait(what, perf_counter() - begin)
    if is_steady:
        _write(path, figures)
    else:
        request.log("the machine is busy: the measurement is not kept")
    return figures


def _find_usual_start(library: str) -> float:
    return min(row[library][START] for row in read_table().values() if library in row)


def _measure(runtime: Runtime) -> tuple[Pixels, Times, bool]:
    """Return a result, the seconds of one core by side, and whether the rounds agreed.

    Processor seconds are counted, which other programs change less than wall time.
    """
    times, is_steady, side = {}, True, _SIDES[0]
    photo = crop_photo(_SIDES[1], _SIDES[1], runtime.info.channels)
    result = next(runtime.run([photo[:side, :side]]))  # the first run allocates
    while True:
        seconds = sorted(_time_run(runtime, photo[:side, :side]) for _ in range(_ROUNDS))
        times[str(side)] = seconds[0]
        is_steady &= seconds[1] < _STEADY * seconds[0]
        larger = min(_SIDES[1], int(side * math.sqrt(_RUN_SECONDS * count_threads() / seconds[0])))
        if len(times) == len(_SIDES) or larger < 1.5 * side:
            return result, times, is_steady
        side = larger


def _time_run(runtime: Runtime, tile: Pixels) -> float:
    start = process_time()
    next(runtime.run([tile]))
    return process_time() - start


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return the figures in a file; empty if there are none."""
    figures: dict[str, dict[str, float]] = {}
    for key, seconds in (read_measurement(path) or {}).items():
        library, _, side = key.partition(" ")
        figures.setdefault(library, {})[side] = seconds
    return figures


def _write(path: Path, figures: Mapping[str, Times]) -> None:
    flat = {f"{name} {side}": value for name, times in figures.items() for side, value in times.items()}
    write_measurement(path, flat)
