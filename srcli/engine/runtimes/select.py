"""Which runtime runs a network: the first in the table with no reason against it."""

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
from srcli.errors import UsageError

AUTO = "auto"
# Classes by the names that `--runtime` takes, the preferred ones first. Each is in a module of its name,
# which is imported when the runtime is tried. Runtimes after torch, which runs everything, are used only
# when named.
RUNTIMES = {"ncnn": "NcnnRuntime", "torch": "TorchRuntime"}


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
    for name in _candidates(request):
        runtime = load_class(name)
        against = runtime.reason_against(source, request)
        if against is None:
            try:
                return runtime.load(source, request, reason)
            except UnsupportedNetwork as error:
                against = error.message
        reason = against
        reasons.append(against)
    if request.runtime == AUTO:
        why = "; ".join(reasons)
        raise UsageError(f"{request.device} cannot run {source.spec.arch}: {why}", "leave out --device")
    raise UsageError(f"{request.runtime} cannot run {source.spec.arch}: {reason}", "leave out --runtime")


def _candidates(request: RuntimeRequest) -> list[str]:
    if request.runtime == AUTO:
        return list(RUNTIMES)
    if request.runtime not in RUNTIMES:
        known = ", ".join([AUTO, *RUNTIMES])
        raise UsageError(f"no runtime called '{request.runtime}'", f"known: {known}")
    return [request.runtime]


def load_class(name: str) -> RuntimeClass:
    """Return a class of `RUNTIMES` by its name, and import what it needs."""
    module = importlib.import_module(f"srcli.engine.runtimes.{name}")
    runtime: RuntimeClass = getattr(module, RUNTIMES[name])
    return runtime
