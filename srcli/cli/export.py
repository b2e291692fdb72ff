"""`sr export`: a network for other runtimes, compared with torch as soon as it is written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from srcli.cli import completion, console, options
from srcli.errors import SrError, UsageError
from srcli.storage.files import check_can_write
from srcli.storage.hashing import sha256

if TYPE_CHECKING:
    from srcli.engine.export.formats import ExportFormat, ExportTask
    from srcli.engine.runtimes.base import WeightsSource


def export(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Model, or the network that --weights is for.",
            show_default=False,
            autocompletion=completion.networks,
        ),
    ] = None,
    scale: options.OneScale = 4,
    to: Annotated[str, typer.Option("--to", help="onnx, torchscript, ncnn or table.")] = "onnx",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; NAME-x4 with a suffix by default.")
    ] = None,
    weights: options.OneWeights = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a network for another runtime, any height and width, and compare it with torch."""
    from srcli.engine.export import UnexportableError, formats

    whole = options.require_whole_scale(scale)
    source = _source(name, weights, whole)
    chosen = formats.find_format(to)
    label = name if name and not weights else source.path.stem
    path = output or Path(f"{label.removesuffix(f'-x{whole}')}-x{whole}{chosen.suffixes[0]}")
    _check_output(chosen, path, overwrite)
    try:
        difference = chosen.write(_job(source, path))
    except UnexportableError as error:
        raise SrError(
            f"{source.spec.arch} cannot be exported to {to}: {error.message}",
            f"try --to {' or '.join(sorted(formats.FORMATS.keys() - {to}))}",
        ) from error
    verdict = difference or "not compared with torch (needs onnxruntime)"
    console.out.print(f"{' '.join(map(str, chosen.list_files(path)))}  {verdict}", markup=False)


def _source(name: str | None, weights: Path | None, scale: int) -> "WeightsSource":
    from srcli import methods

    if weights:
        return methods.identify_weights(weights, scale, methods.find_arch(name) if name else None)
    if name is None:
        raise UsageError("nothing to export", "name a model, or use --weights")
    return methods.locate_weights(methods.resolve_name(name), scale)


def _check_output(chosen: "ExportFormat", path: Path, overwrite: bool) -> None:
    if path.suffix != chosen.suffixes[0]:
        raise UsageError(f"{path} does not end in {chosen.suffixes[0]}", "as files of that format do")
    taken = [file for file in chosen.list_files(path) if file.exists()]
    if taken and not overwrite:
        raise SrError(f"{taken[0]} exists", "add --overwrite, or choose another --output")
    check_can_write(path)


def _job(source: "WeightsSource", path: Path) -> "ExportTask":
    from srcli import archs
    from srcli.engine.export.formats import ExportTask
    from srcli.engine.weights import files

    spec = source.spec
    network, _ = archs.deploy(spec.arch, spec.scale, spec.config, files.load_network(source.path, spec))
    digest = source.digest or sha256(source.path)
    return ExportTask(network.eval(), spec, digest, path)
