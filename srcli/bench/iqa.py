"""Metrics of pyiqa (LPIPS, DISTS and the rest), as functions of pixels; the package is an extra."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from srcli.errors import SrError, UsageError
from srcli.imaging.pixels import Pixels

# pyiqa has networks of torchvision's behind most of its metrics.
INSTALL = "`pip install 'sr-cli[iqa]'`"


@dataclass(frozen=True)
class Judge:
    """A metric of pyiqa: `lower` is better or higher; `blind` ones look at the result alone."""

    name: str
    lower: bool
    blind: bool
    measure: Callable[[Pixels, Pixels], float]


def judge(name: str, device: str | None = None) -> Judge:
    """The metric that pyiqa has by that name. Raises `UsageError` for others, `SrError` without pyiqa."""
    try:
        import pyiqa
    except ImportError as error:
        raise SrError(f"{name} is measured by pyiqa, which can't be imported", INSTALL) from error
    if name not in pyiqa.list_models():
        raise UsageError(f"pyiqa has no metric called '{name}'", "pyiqa.list_models() names what it has")
    try:
        metric: Any = pyiqa.create_metric(name, device=_device(device))
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "it downloads weights at first use: check the connection"
        raise SrError(f"pyiqa can't make {name}: {reason}", hint) from error
    blind = metric.metric_mode == "NR"
    return Judge(name, bool(metric.lower_better), blind, lambda sr, hr: _measured(metric, blind, sr, hr))


def _device(requested: str | None) -> str:
    from srcli.engine.device import choose

    return choose(requested).name


def _measured(metric: Any, blind: bool, sr: Pixels, hr: Pixels) -> float:
    """Images (H, W, 3) in [0, 1] as pyiqa takes them: tensors (1, 3, H, W) of the same range."""
    import torch

    with torch.inference_mode():
        tensors = [
            torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)))[None].float() for p in (sr, hr)
        ]
        return float(metric(tensors[0]) if blind else metric(*tensors))


def known() -> bool:
    """Whether pyiqa is there already; nothing is imported."""
    from importlib.util import find_spec

    return "pyiqa" in sys.modules or find_spec("pyiqa") is not None
