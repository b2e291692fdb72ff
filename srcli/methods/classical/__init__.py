"""Methods without a training set: each learns from the one image that it enlarges, or only assumes.

Here are their names and settings; `solver` is loaded when one of them runs.
"""

import importlib.util
from collections.abc import Collection

from srcli.errors import SrError, UsageError, explain_missing
from srcli.methods.classical.settings import AUTO, UntrainedSettings, parse_duration

__all__ = [
    "AUTO",
    "METHODS",
    "TRAINED",
    "UntrainedSettings",
    "check_installed",
    "check_kernel",
    "parse_duration",
]

# A short description of each.
METHODS = {
    "ibp": "adds back what the result loses when downscaled",
    "tv": "total variation: few, sharp edges",
    "selfex": "details from similar patches of the image at other scales",
    "sparse": "sparse coding with dictionaries learned from the image",
    "zssr": "a small network trained on the image itself",
    "dip": "deep image prior: fits an untrained network, stopped before it fits noise",
}
TRAINED = ("zssr", "dip")
_EXTRAS = {"sparse": ("sklearn", "scikit-learn", "sparse")}


def check_installed(name: str) -> None:
    """Raise `SrError` if a method needs a package that is not installed."""
    for needed in ("torch", "cv2") if name in TRAINED else ("cv2",):
        if importlib.util.find_spec(needed) is None:
            raise explain_missing(needed, name)
    module, package, extra = _EXTRAS.get(name, ("numpy", "", ""))
    if importlib.util.find_spec(module) is None:
        raise SrError(f"{name} needs {package}", f"`pip install 'sr-cli[{extra}]'`, or use -m selfex")


def check_kernel(names: Collection[str]) -> None:
    """Raise `UsageError` if none of the methods named uses a kernel."""
    if not set(names) & set(METHODS):
        known = ", ".join(METHODS)
        raise UsageError("--kernel is for methods without a training set", f"choose one with -m: {known}")
