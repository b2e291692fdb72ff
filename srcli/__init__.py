"""`sr`: upscale images with super-resolution networks, and measure how well they do it.

`upscale`, `load` and `score` are the Python API, described in docs/python.md. Importing this package is
cheap: each name is imported when it is first used, and torch only by a network that needs it.
"""

# What type checkers take for `typing.TYPE_CHECKING`; importing that module is most of the time it takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from srcli.bench.api import score
    from srcli.bench.results import Row
    from srcli.errors import (
        DatasetError,
        FileError,
        ImageError,
        ManifestError,
        ProtocolError,
        SrError,
        UsageError,
        WeightsError,
    )
    from srcli.imaging.codecs.base import EncodingOptions
    from srcli.upscaling.model import Model, ModelInfo, load, upscale
    from srcli.upscaling.postprocess import Postprocess

__version__ = "0.1.0"

_HOMES = {
    "srcli.bench.api": ("score",),
    "srcli.bench.results": ("Row",),
    "srcli.errors": (
        "DatasetError", "FileError", "ImageError", "ManifestError", "ProtocolError", "SrError", "UsageError",
        "WeightsError",
    ),
    "srcli.imaging.codecs.base": ("EncodingOptions",),
    "srcli.upscaling.model": ("Model", "ModelInfo", "load", "upscale"),
    "srcli.upscaling.postprocess": ("Postprocess",),
}  # fmt: skip

__all__ = [
    "DatasetError",
    "EncodingOptions",
    "FileError",
    "ImageError",
    "ManifestError",
    "Model",
    "ModelInfo",
    "Postprocess",
    "ProtocolError",
    "Row",
    "SrError",
    "UsageError",
    "WeightsError",
    "__version__",
    "load",
    "score",
    "upscale",
]


def _import_name(name: str) -> object:
    """Import a public name when it is first used."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not TYPE_CHECKING:  # type checkers would accept any name
    __getattr__ = _import_name


def __dir__() -> list[str]:
    return __all__
