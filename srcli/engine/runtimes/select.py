"""Which runtime runs a network: the fastest with no reason against it."""

import importlib
from dataclasses import replace

from srcli.engine.device import limit_spinning
from srcli.engine.runtimes.base import (
    Runtime,
    RuntimeClass,
    RuntimeRequest,
    UnsupportedNetwork,
    WeightsSource,
)
from srcli.engine.runtimes.speeds import estimate_seconds
from srcli.engine.vulkan import find_real_gpu
from srcli.errors import UsageError

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


def load(source: WeightsSource, request: RuntimeRequest) -> Runtime:
    """Return the network in a file, ready for the requested runtime or the first that supports it.

    Several devices share the tiles. Raises `UsageError` for a runtime that does not exist or cannot run it.
    """
    names = (request.device or "").split(",")
    if len(names) > 1:
        from srcli.engine.runtimes.multi_device import MultiDeviceRuntime

        each = (load(source, replace(request, device=name)) for name in names)
        return MultiDeviceRuntime.join(tuple(each))
    limit_spinning()
    reason = None if request.runtime == AUTO else "requested"
    reasons: list[str] = []
    fastest = _rank_by_speed(source, request)
    for name in [*fastest, *(name for name in _candidates(request) if name not in fastest)]:
        runtime = load_class(name)
        against = runtime.reason_against(source, request)
        if against is None:
            try:
                return runtime.load(source, request, None if name in fastest else reason)
            except UnsupportedNetwork as error:
                against = error.message
        reason = against
        reasons.append(against)
    if request.runtime == AUTO:
        why = "; ".join(reasons)
        raise UsageError(f"{request.device} cannot run {source.spec.arch}: {why}", "leave out --device")
    raise UsageError(f"{request.runtime} cannot run {source.spec.arch}: {reason}", "leave out --runtime")


def _rank_by_speed(source: WeightsSource, request: RuntimeRequest) -> list[str]:
    """Return the runtimes of a CPU from the fastest on, for bundled networks and a known amount of work."""
    is_open = request.runtime == AUTO and request.device in (None, "cpu") and "ncnn" in source.cards
    if not is_open or request.pixels is None or (request.device is None and find_real_gpu()):
        return []
    seconds = estimate_seconds(source.path.stem, request.pixels)
    figures = ", ".join(f"{name} {each:.2f} s" for name, each in seconds.items())
    request.log(f"estimates for {request.pixels:,} pixels: {figures}")
    return list(seconds)


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
