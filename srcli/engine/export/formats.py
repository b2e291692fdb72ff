"""The formats that `sr export` writes, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from srcli.archs import Spec
from srcli.engine.export import onnx, torchscript
from srcli.engine.export.check import SIZES, Difference, difference
from srcli.engine.export.ncnn.pack import pack
from srcli.engine.runtimes.lut import LutRuntime
from srcli.engine.weights import lut, ncnn_cache
from srcli.errors import UsageError
from srcli.storage.files import replace_atomically
from srcli.workers.progress import ignore


@dataclass(frozen=True)
class Job:
    """A network in evaluation mode, without what only training needs, and where it goes.

    `spec`: what it is; `scale` is that of its own tensors; `made_from`, the SHA-256 of its weights.
    """

    network: nn.Module
    spec: Spec
    scale: int
    made_from: str
    path: Path


@dataclass(frozen=True)
class Format:
    """`write` returns how far the file is from torch, None where that could not be told.

    `suffixes`: of the files it writes, the first being what is named; `check` raises `SrError` where
    something has to be installed first.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Job], Difference | None]
    check: Callable[[], None] = ignore

    def files(self, path: Path) -> list[Path]:
        """What is written where `path` is asked for."""
        return [path, *(path.with_suffix(suffix) for suffix in self.suffixes[1:])]


def _onnx(job: Job) -> Difference | None:
    with replace_atomically(job.path) as temporary:
        return onnx.write(job.network, temporary)


def _torchscript(job: Job) -> Difference | None:
    with replace_atomically(job.path) as temporary:
        return torchscript.write(job.network, temporary)


def _ncnn(job: Job) -> Difference | None:
    made, difference = pack(job.network, job.scale)
    ncnn_cache.write(job.path.with_suffix(""), made, job.made_from)
    return difference


def _table(job: Job) -> Difference:
    with replace_atomically(job.path) as temporary:
        lut.export(temporary, job.network, job.spec, "float32")
        runtime = LutRuntime(lut.enlarger(*lut.read(temporary)))
        return difference(job.network, lambda pixels: next(iter(runtime.run([pixels]))), SIZES)


FORMATS = {
    "onnx": Format((".onnx",), _onnx, onnx.check_installed),
    "torchscript": Format((".pt",), _torchscript),
    "ncnn": Format((".param", ".bin", ".json"), _ncnn),
    "table": Format((".safetensors",), _table),
}


def find(name: str) -> Format:
    """The format of that name. Raises `UsageError` for others, `SrError` for what has to be installed."""
    if name not in FORMATS:
        raise UsageError(f"no format called '{name}'", f"known: {', '.join(FORMATS)}")
    FORMATS[name].check()
    return FORMATS[name]
