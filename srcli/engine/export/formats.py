"""The formats that `sr export` writes, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from srcli.archs import Spec
from srcli.engine.export import onnx, torchscript
from srcli.engine.export.check import SIZES, Difference, compare_with_torch
from srcli.engine.export.ncnn.convert import convert_network
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.lut import prepare_tables
from srcli.engine.weights import lut
from srcli.errors import UsageError
from srcli.storage.files import replace_atomically
from srcli.workers.progress import ignore


@dataclass(frozen=True)
class ExportTask:
    """A network in evaluation mode, without what only training needs, and the file to write.

    `made_from`: the SHA-256 of its weights.
    """

    network: nn.Module
    spec: Spec
    made_from: str
    path: Path


@dataclass(frozen=True)
class ExportFormat:
    """`write` returns how far the file is from torch, None if that could not be tested.

    `suffixes`: of the files it writes, first the one that is named; `check` raises `SrError` if something has
    to be installed first.
    """

    suffixes: tuple[str, ...]
    write: Callable[[ExportTask], Difference | None]
    check: Callable[[], None] = ignore

    def list_files(self, path: Path) -> list[Path]:
        """Return the files that are written for `path`."""
        return [path, *(path.with_suffix(suffix) for suffix in self.suffixes[1:])]


def _write_onnx(task: ExportTask) -> Difference | None:
    with replace_atomically(task.path) as temporary:
        return onnx.write(task.network, temporary)


def _write_torchscript(task: ExportTask) -> Difference | None:
    with replace_atomically(task.path) as temporary:
        return torchscript.write(task.network, temporary)


def _write_ncnn(task: ExportTask) -> Difference | None:
    network, difference = convert_network(task.network, task.spec.own_scale)
    converted.write(task.path.with_suffix(""), network, task.made_from)
    return difference


def _write_tables(task: ExportTask) -> Difference:
    with replace_atomically(task.path) as temporary:
        lut.export_tables(temporary, task.network, task.spec, "float32")
        runtime = prepare_tables(lut.build_upscaler(*lut.read_tables(temporary)))
        return compare_with_torch(task.network, lambda pixels: next(iter(runtime.run([pixels]))), SIZES)


FORMATS = {
    "onnx": ExportFormat((".onnx",), _write_onnx, onnx.check_installed),
    "torchscript": ExportFormat((".pt",), _write_torchscript),
    "ncnn": ExportFormat((".param", ".bin", ".json"), _write_ncnn),
    "table": ExportFormat((".safetensors",), _write_tables),
}


def find_format(name: str) -> ExportFormat:
    """Return the format of that name. Raises `UsageError`, or `SrError` if it needs an installation."""
    if name not in FORMATS:
        raise UsageError(f"no format called '{name}'", f"known: {', '.join(FORMATS)}")
    FORMATS[name].check()
    return FORMATS[name]
