"""Runs a method without a training set on an image.

A method is a module with `solve(problem) -> (H, W, C)`. Some import torch, so modules are imported on demand.
"""

import importlib
from dataclasses import replace
from typing import Protocol, cast

import numpy as np

from srcli.imaging.pixels import Pixels, is_grey
from srcli.methods.classical import blind, check_installed
from srcli.methods.classical.operators import Blur, Side, Values
from srcli.methods.classical.problem import Problem
from srcli.methods.classical.settings import AUTO, Clock, UntrainedSettings

_DEFAULT = UntrainedSettings()


class _Module(Protocol):
    def solve(self, problem: Problem) -> Values: ...


def enlarge(name: str, pixels: Pixels, size: Side, settings: UntrainedSettings = _DEFAULT) -> Pixels:
    """Enlarge (h, w, 3) in [0, 1] to (H, W, 3) in [0, 1] by a method of `METHODS`; `size` is (H, W).

    The result is reproducible for a seed if time is not limited. Raises `SrError` for images that are too
    small to learn from, and if a package is missing.
    """
    check_installed(name)
    grey = is_grey(pixels)
    small = np.ascontiguousarray(pixels[..., :1] if grey else pixels, np.float32)
    clock = Clock(settings.within or np.inf, settings.progress)
    problem = Problem(small, size, None, settings.seed, settings.device, clock)
    module = cast(_Module, importlib.import_module(f"srcli.methods.classical.{name}"))
    large = np.clip(module.solve(_with_blur(problem, settings)), 0, 1).astype(np.float32)
    return np.repeat(large, 3, axis=2) if grey else large


def _with_blur(problem: Problem, settings: UntrainedSettings) -> Problem:
    """Add the blur that is given, or estimated from the image, to the problem."""
    kernel = blind.estimate_blur(problem) if settings.kernel == AUTO else settings.kernel
    return problem if kernel is None else replace(problem, blur=Blur(kernel.weights()))
