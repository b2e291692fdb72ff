"""ONNX, written by torch's own exporter, for images of any height and width."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from srcli.engine.export import UnexportableError, check_fixed_graph
from srcli.engine.export.check import SIZES, Difference, compare_with_torch, crop_for
from srcli.engine.runtimes.torch import to_batch
from srcli.errors import SrError
from srcli.imaging.pixels import Pixels


def check_installed() -> None:
    """Raise `SrError` if the packages that write ONNX are not installed."""
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise SrError("ONNX files need onnx and onnxscript", "pip install 'sr-cli[onnx]'")


def write(network: nn.Module, path: Path) -> Difference | None:
    """Write the network, and compare it with torch; return None if ONNX Runtime is not installed.

    Raises `UnexportableError` if torch cannot write it, or ONNX Runtime computes something else.
    """
    check_fixed_graph(network)
    example = to_batch(crop_for(network, *SIZES[0]))
    sides = ({2: Dim.AUTO, 3: Dim.AUTO},)
    try:
        with _quiet():
            torch.onnx.export(
                network,
                (example,),
                path,
                input_names=["image"],
                output_names=["enlarged"],
                dynamic_shapes=sides,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UnexportableError(f"torch cannot write it as ONNX: {reason}") from error
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    return compare_with_torch(network, _Runner(path))


class _Runner:
    """A file run by ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        try:
            self.session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes are made in C++, with RuntimeError as their base or not
            raise UnexportableError("ONNX Runtime cannot read it") from error

    def __call__(self, pixels: Pixels) -> Pixels:
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        (out,) = self.session.run(None, {"image": planes})
        enlarged: Pixels = out[0].transpose(1, 2, 0)
        return enlarged


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which reports steps, versions and optimisations that users need not know."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
