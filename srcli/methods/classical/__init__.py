"""Methods without a training set: each learns from the one image that it enlarges, or only assumes.

Here is what has to be known of them in any case; `solving` is loaded when one is asked for.
"""

import importlib.util
from collections.abc import Collection

from srcli.errors import SrError, UsageError
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


def check_installed(name: str) -> None:
    """Raise `SrError` where a method needs a package that is not installed."""
    module, package, extra = _EXTRAS.get(name, ("numpy", "", ""))
    if importlib.util.find_spec(module) is None:
        raise SrError(f"{name} needs {package}", f"`pip install 'sr-cli[{extra}]'`, or take -m selfex")


def check_kernel(names: Collection[str]) -> None:
    """Raise `UsageError` where none of the methods named can make use of a kernel."""
    if not set(names) & set(METHODS):
        known = ", ".join(METHODS)
        raise UsageError("--kernel is for methods without a training set", f"name one with -m: {known}")
