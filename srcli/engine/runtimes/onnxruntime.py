"""ONNX Runtime on a CPU, for the networks that sr has; foreign graphs are in `onnx`."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srcli.engine.runtimes.base import UnsupportedNetwork
from srcli.engine.runtimes.translated import Session, TranslatedRuntime
from srcli.engine.runtimes.translation import INPUT


class OnnxRuntime(TranslatedRuntime):
    """A converted network in ONNX Runtime."""

    library: ClassVar[str] = "ONNX Runtime"
    module: ClassVar[str] = "onnxruntime"

    @staticmethod
    def open_model(model: bytes, threads: int) -> Session:
        """Return a model ready to run."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are reported by sr
        try:
            session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        except Exception as error:  # its classes are made at run time, below no other than Exception
            raise UnsupportedNetwork(f"ONNX Runtime cannot read it: {str(error)[:100]}") from error

        def run(values: NDArray[np.float32]) -> NDArray[Any]:
            try:
                out: NDArray[Any] = session.run(None, {INPUT: np.ascontiguousarray(values)})[0]
            except Exception as error:
                raise MemoryError(str(error)) from error
            return out

        return run
