"""OpenCV's dnn on a CPU: faster than ncnn for narrow networks."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from srcli.engine.runtimes.base import UnsupportedNetwork
from srcli.engine.runtimes.translated import Session, TranslatedRuntime

_OLDEST = 5  # earlier versions read no graphs for images of any size


class OpenCvRuntime(TranslatedRuntime):
    """A converted network in OpenCV."""

    library: ClassVar[str] = "OpenCV"
    module: ClassVar[str] = "cv2"

    @staticmethod
    def open_model(model: bytes, threads: int) -> Session:
        """Return a model ready to run."""
        import cv2

        if int(cv2.__version__.partition(".")[0]) < _OLDEST:
            raise UnsupportedNetwork(f"OpenCV {cv2.__version__} is too old")
        cv2.setNumThreads(threads)
        try:
            net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        except cv2.error as error:
            raise UnsupportedNetwork(f"OpenCV cannot read it: {str(error)[:100]}") from error

        def run(values: NDArray[np.float32]) -> NDArray[Any]:
            net.setInput(values)
            try:
                out: NDArray[Any] = net.forward()
            except cv2.error as error:
                raise MemoryError(str(error)) from error
            return out

        return run
