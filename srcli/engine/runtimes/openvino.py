"""OpenVINO on a CPU: the fastest for narrow networks, and the slowest to start."""

import sys
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srcli.engine.runtimes.base import UnsupportedNetwork
from srcli.engine.runtimes.translated import Session, TranslatedRuntime

if TYPE_CHECKING:
    import openvino

_CONVERTER = "openvino.tools.ovc"


@cache
def _get_core() -> "openvino.Core":
    """Return the one core of this process, which is never freed.

    It gives signal handlers of its thread another stack. Freed in another thread, it would take that stack
    away, and the next Ctrl-C would be a segmentation fault.
    """
    if "openvino" not in sys.modules:
        # It would tell its makers of each import, over the network, by a process that it forks: locks of our
        # threads can leave that process stuck, with our pipes open.
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if sys.modules.get(_CONVERTER, "") is None:
            del sys.modules[_CONVERTER]
    return openvino.Core()


class OpenVinoRuntime(TranslatedRuntime):
    """A converted network in OpenVINO."""

    library: ClassVar[str] = "OpenVINO"
    module: ClassVar[str] = "openvino"
    # Its transposition takes as long as two layers of a network: bytes are a quarter of floats.
    rounds_last: ClassVar[bool] = False

    @staticmethod
    def open_model(model: bytes, threads: int) -> Session:
        """Return a model that computes in single precision, whatever the processor could do by less."""
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            core = _get_core()
            request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise UnsupportedNetwork(f"OpenVINO cannot read it: {str(error)[:100]}") from error

        def run(values: NDArray[np.float32]) -> NDArray[Any]:
            try:
                # Not shared: the next call would overwrite it.
                out: NDArray[Any] = request.infer({0: values}, share_inputs=True)[0]
            except RuntimeError as error:
                raise MemoryError(str(error)) from error
            return out

        return run
