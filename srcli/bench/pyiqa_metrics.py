"""Metrics of pyiqa (LPIPS, DISTS and others) as functions of pixels; pyiqa is an optional package."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from srcli.errors import SrError, UsageError
from srcli.imaging.pixels import Pixels

INSTALL = "`pip install 'sr-cli[iqa]'`"


@dataclass(frozen=True)
class PyiqaMetric:
    """A metric of pyiqa; `lower` is better or higher, `blind` metrics look at the result alone."""

    name: str
    lower: bool
    blind: bool
    measure: Callable[[Pixels, Pixels], float]


def load_metric(name: str, device: str | None = None) -> PyiqaMetric:
    """Load a metric by name. Raises `UsageError` if unknown, `SrError` without pyiqa or its weights."""
    try:
        import pyiqa
    except ImportError as error:
        raise SrError(f"{name} needs pyiqa, which cannot be imported", INSTALL) from error
    if name not in pyiqa.list_models():
        raise UsageError(f"pyiqa has no metric called '{name}'", "pyiqa.list_models() lists what it has")
    try:
        metric: Any = pyiqa.create_metric(name, device=_choose_device(device))
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "it downloads weights at first use: check the connection"
        raise SrError(f"pyiqa cannot load {name}: {reason}", hint) from error
    blind = metric.metric_mode == "NR"
    lower = bool(metric.lower_better)
    return PyiqaMetric(name, lower, blind, lambda sr, hr: _measure(metric, blind, sr, hr))


def _choose_device(requested: str | None) -> str:
    from srcli.engine.device import select_device
    from srcli.engine.vulkan import is_vulkan

    return select_device(None if is_vulkan(requested) else requested).name


def _measure(metric: Any, blind: bool, sr: Pixels, hr: Pixels) -> float:
    """Return the metric of images (H, W, 3) in [0, 1]; pyiqa takes tensors (1, 3, H, W) of the same range."""
    import torch

    with torch.inference_mode():
        tensors = [
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None].float() for p in (sr, hr)
        ]
        return float(metric(tensors[0]) if blind else metric(*tensors))


def is_installed() -> bool:
    """Return whether pyiqa can be found, without importing it."""
    from importlib.util import find_spec

    return "pyiqa" in sys.modules or find_spec("pyiqa") is not None
