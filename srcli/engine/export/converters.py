"""Converters that write networks for the runtimes with formats of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import archs
from srcli.engine.export import UnexportableError
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.base import WeightsSource
from srcli.engine.weights import files
from srcli.storage.hashing import hash_once

if TYPE_CHECKING:
    from torch import nn

    from srcli.engine.runtimes.converted import ConvertedNetwork


def _convert_to_ncnn(network: "nn.Module", scale: int) -> "ConvertedNetwork":
    from srcli.engine.export.ncnn.convert import convert_network

    return convert_network(network, scale)[0]


# By the name of the format: returns a network in it, given its own scale, or raises `UnexportableError`.
CONVERTERS: dict[str, Callable[["nn.Module", int], "ConvertedNetwork"]] = {"ncnn": _convert_to_ncnn}


def convert(form: str, source: WeightsSource, path: Path) -> None:
    """Write the network in the format `form` to `path`, which has no suffix, or the reason why it cannot.

    Raises `FileError` if nothing can be written.
    """
    spec = source.spec
    network, _ = archs.deploy(spec.arch, spec.scale, spec.config, files.load_network(source.path, spec))
    try:
        result = CONVERTERS[form](network, spec.own_scale)
    except UnexportableError as error:
        converted.write_refusal(path, error.message)
    else:
        converted.write(path, result, source.digest or hash_once(source.path))
