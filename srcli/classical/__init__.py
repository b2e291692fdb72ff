"""Methods without a training set: each learns from the one image that it enlarges, or only assumes.

A method is a module with `solve(problem) -> (H, W, C)`. Those that train a network import torch, so modules
are loaded when they are asked for.
"""

import importlib
import importlib.util
from collections.abc import Collection
from dataclasses import replace
from typing import Protocol, cast

import numpy as np

from srcli.classical import blind
from srcli.classical.operators import Blur, Side, Values
from srcli.classical.problem import Problem
from srcli.classical.settings import AUTO, Clock, Settings, seconds
from srcli.errors import SrError, UsageError
from srcli.imaging.pixels import Pixels, is_grey

__all__ = ["AUTO", "METHODS", "TRAINED", "Settings", "check", "check_kernel", "enlarge", "seconds"]

# What each one does, in a few words.
METHODS = {
    "ibp": "what is lost when the result is made small again is added",
    "tv": "few and sharp edges, by total variation",
    "selfex": "details of patches that the image shows again at another size",
    "sparse": "patches of few parts, from dictionaries learned from the image",
    "zssr": "a small network trained on the image itself",
    "dip": "what a network can draw at once, and noise can't be",
}
TRAINED = ("zssr", "dip")
_EXTRAS = {"sparse": ("sklearn", "scikit-learn", "sparse")}
DEFAULT = Settings()


class _Module(Protocol):
    def solve(self, problem: Problem) -> Values: ...


def check(name: str) -> None:
    """Raise `SrError` where a method needs a package that is not installed."""
    module, package, extra = _EXTRAS.get(name, ("numpy", "", ""))
    if importlib.util.find_spec(module) is None:
        raise SrError(f"{name} needs {package}", f"`pip install 'sr-cli[{extra}]'`, or take -m selfex")


def enlarge(name: str, pixels: Pixels, size: Side, settings: Settings = DEFAULT) -> Pixels:
    """(h, w, 3) in [0, 1] to (H, W, 3) in [0, 1] by a method of `METHODS`; `size` is (H, W).

    With one seed and no limit of time it is the same every time. Raises `SrError` for images that are too
    small to learn from, and where a package is missing.
    """
    check(name)
    grey = is_grey(pixels)
    small = np.ascontiguousarray(pixels[..., :1] if grey else pixels, np.float32)
    clock = Clock(settings.within or np.inf, settings.progress)
    problem = Problem(small, size, None, settings.seed, settings.device, clock)
    module = cast(_Module, importlib.import_module(f"srcli.classical.{name}"))
    large = np.clip(module.solve(_with_blur(problem, settings)), 0, 1).astype(np.float32)
    return np.repeat(large, 3, axis=2) if grey else large


def _with_blur(problem: Problem, settings: Settings) -> Problem:
    """The problem with the blur that is given, or found in the image, for it to be undone."""
    kernel = blind.estimate(problem) if settings.kernel == AUTO else settings.kernel
    return problem if kernel is None else replace(problem, blur=Blur(kernel.weights()))


def check_kernel(names: Collection[str]) -> None:
    """Raise `UsageError` where none of the methods named can make use of a kernel."""
    if not set(names) & set(METHODS):
        known = ", ".join(METHODS)
        raise UsageError("--kernel is for methods without a training set", f"name one with -m: {known}")
