"""Which runtime runs a network: the fastest with no reason against it."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.dataclass import dataclass
from srcli.engine.device import has_bfloat16_matrices, limit_spinning, select_device
from srcli.engine.runtimes.base import (
    Runtime,
    RuntimeClass,
    RuntimeRequest,
    UnsupportedNetwork,
    WeightsSource,
)
from srcli.engine.runtimes.speeds import Times, estimate_seconds, read_table
from srcli.engine.vulkan import find_real_gpu
from srcli.errors import UsageError
from srcli.scales import ANY

if TYPE_CHECKING:
    from srcli.engine.runtimes.trials import SpeedRecord

AUTO = "auto"
# Classes by the names that `--runtime` takes. Each is in a module of its name, which is imported when it is
# tried. If nothing is known of their speed, ncnn is tried and then torch, which runs everything.
RUNTIMES = {
    "ncnn": "NcnnRuntime",
    "torch": "TorchRuntime",
    "openvino": "OpenVinoRuntime",
    "opencv": "OpenCvRuntime",
    "onnxruntime": "OnnxRuntime",
}


# What is assumed if the work is not known in advance: a photograph of moderate size.
ASSUMED_PIXELS = 2**20


@dataclass(frozen=True)
class _Ranking:
    """The runtimes to try first, the fastest first, and the file of a trial if one decided."""

    names: tuple[str, ...] = ()
    path: Path | None = None

    def find_record(self, name: str) -> "SpeedRecord | None":
        """Return the part of the file that is about a runtime."""
        if self.path is None or name not in self.names:
            return None
        from srcli.engine.runtimes.trials import SpeedRecord

        return SpeedRecord(self.path, name)


def load(source: WeightsSource, request: RuntimeRequest) -> Runtime:
    """Return the network in a file, ready for the requested runtime or the fastest that supports it.

    Several devices share the tiles. Raises `UsageError` for a runtime that does not exist or cannot run it.
    """
    return load_with_record(source, request)[0]


def load_with_record(source: WeightsSource, request: RuntimeRequest) -> "tuple[Runtime, SpeedRecord | None]":
    """Return what `load` does, and what corrects the trial on this machine that decided, if one did."""
    names = (request.device or "").split(",")
    if len(names) > 1:
        from srcli.engine.runtimes.multi_device import MultiDeviceRuntime

        each = (load(source, replace(request, device=name)) for name in names)
        return MultiDeviceRuntime.join(tuple(each)), None
    limit_spinning()
    reason = None if request.runtime == AUTO else "requested"
    reasons: list[str] = []
    ranking = _rank_by_speed(source, request)
    for name in dict.fromkeys([*ranking.names, *_candidates(request)]):
        runtime = load_class(name)
        against = runtime.reason_against(source, request)
        if against is None:
            try:
                ready = runtime.load(source, request, None if name in ranking.names else reason)
            except UnsupportedNetwork as error:
                against = error.message
            else:
                return ready, ranking.find_record(name)
        reason = against
        reasons.append(against)
    if request.runtime == AUTO:
        why = "; ".join(reasons)
        raise UsageError(f"{request.device} cannot run {source.spec.arch}: {why}", "leave out --device")
    raise UsageError(f"{request.runtime} cannot run {source.spec.arch}: {reason}", "leave out --runtime")


def _rank_by_speed(source: WeightsSource, request: RuntimeRequest) -> _Ranking:
    """Rank the runtimes of a CPU by the table of bundled networks, or by a trial of others."""
    is_open = request.runtime == AUTO and request.device in (None, "cpu") and source.spec.scale != ANY
    if not is_open or (request.device is None and find_real_gpu()):
        return _Ranking()
    if request.approximate and has_bfloat16_matrices(select_device("cpu")):
        return _Ranking(("torch",))
    pixels = ASSUMED_PIXELS if request.pixels is None else request.pixels
    path: Path | None = None
    times: Mapping[str, Times] = read_table().get(source.path.stem, {}) if "ncnn" in source.cards else {}
    if not times:
        from srcli.engine.runtimes.trials import find_speeds

        path, times = find_speeds(source, request, pixels, load_class)
    seconds = estimate_seconds(times, pixels)
    if seconds:
        figures = ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())
        request.log(f"estimates for {pixels:,} pixels: {figures}")
    return _Ranking(tuple(seconds), path)


def _candidates(request: RuntimeRequest) -> list[str]:
    if request.runtime == AUTO:
        return ["ncnn", "torch"]
    if request.runtime not in RUNTIMES:
        known = ", ".join([AUTO, *RUNTIMES])
        raise UsageError(f"no runtime called '{request.runtime}'", f"known: {known}")
    return [request.runtime]


def load_class(name: str) -> RuntimeClass:
    """Return a class of `RUNTIMES` by its name, and import what it needs."""
    module = importlib.import_module(f"srcli.engine.runtimes.{name}")
    runtime: RuntimeClass = getattr(module, RUNTIMES[name])
    return runtime
