"""A report on a weight file: its tensors, its header, and the network it belongs to or is closest to."""

from dataclasses import dataclass
from pathlib import Path

from srcli import archs
from srcli.engine.runtimes import ncnn_pair
from srcli.engine.runtimes.onnx import examine_graph
from srcli.engine.weights import checkpoint, files, identify, lut, ncnn, onnx, spandrel
from srcli.engine.weights.identify import Fit
from srcli.errors import WeightsError


@dataclass(frozen=True)
class WeightsReport:
    """Lines of text, and whether they name the network."""

    lines: tuple[str, ...]
    is_identified: bool


def describe_weights(file: Path) -> WeightsReport:
    """Describe a weight file or a look-up table. Raises `WeightsError` for other files."""
    if lut.is_table(file):
        return WeightsReport(tuple(_describe_table(file)), is_identified=True)
    if onnx.is_graph(file):
        return WeightsReport(tuple(_describe_graph(file)), is_identified=True)
    pair = ncnn.find_pair(file)
    if pair:
        return WeightsReport(tuple(_describe_pair(pair)), is_identified=True)
    found = checkpoint.read_checkpoint(file)
    state = found.state
    types = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    count = sum(value.numel() for value in state.values())
    lines = [f"{file}: {len(state)} tensors, {count:,} values, {', '.join(types)}", *_list_header(file)]
    if found.taken:
        lines.append(found.taken)
    fits = identify.rank_fits(state)
    specs = [fit.spec for fit in fits if fit.faults == 0]
    for spec in specs:
        network = archs.build(spec.arch, spec.scale, spec.config)
        parameters = sum(value.numel() for value in network.parameters())
        lines.append(f"matches {spec}, {parameters:,} parameters")
    if not specs:
        lines += [*_describe_closest(fits[:1], state), spandrel.describe_knowledge(state)]
    return WeightsReport(tuple(lines), bool(specs))


def _list_header(file: Path) -> list[str]:
    """List what the header says, without control characters, and whether it can be used."""
    lines = [f"header: {key} = {value}" for key, value in checkpoint.read_header(file).items()]
    shown = [line if line.isprintable() else repr(line) for line in lines]
    try:
        files.read_spec(file)
    except WeightsError as error:
        shown.append(f"the header cannot be used: {error.message}")
    return shown


def _describe_table(file: Path) -> list[str]:
    spec, arrays = lut.read_tables(file)
    count = sum(array.size for array in arrays.values())
    types = sorted({str(array.dtype) for array in arrays.values()})
    number = "1 array" if len(arrays) == 1 else f"{len(arrays)} arrays"
    shape = " x ".join(map(str, next(iter(arrays.values())).shape))
    return [
        f"{file}: {number}, {count:,} values, {', '.join(types)}",
        *_list_header(file),
        f"a look-up table of {spec}; the first array is {shape}; it runs without a network",
    ]


def _describe_graph(file: Path) -> list[str]:
    found = examine_graph(file)
    count = f", {found.info.params:,} values" if found.info.params else ""
    library = "onnxruntime or OpenCV" if file.suffix == ".onnx" else "OpenCV"
    return [f"{file}: a graph{count}", str(found), f"runs by {library} alone"]


def _describe_pair(param: Path) -> list[str]:
    graph = ncnn.read_graph(param)
    known, found = ncnn.identify_graph(graph), ncnn_pair.examine_pair(graph)
    identity = f"matches {known.spec}; it runs by ncnn and torch" if known else "runs by ncnn alone"
    count = f"{len(graph.layers)} layers, {graph.count_weights():,} values"
    return [f"{param} with {graph.bin.name}: an ncnn pair, {count}", str(found), identity]


def _describe_closest(fits: list[Fit], state: checkpoint.State) -> list[str]:
    if not fits:
        family = identify.find_family(state)
        if family is None:
            return ["matches no network of sr; no key is like those of any"]
        others = ", ".join(family.others[:3])
        more = f"; not in it: {others}{' ...' if len(family.others) > 3 else ''}" if others else ""
        return [
            f"matches no network of sr; the most keys, {family.shared}, are like those of {family.arch}{more}"
        ]
    (fit,) = fits
    faults = {"missing": fit.missing, "unexpected": fit.unexpected, "of another shape": fit.misshapen}
    return [f"matches no network of sr; the closest is {fit.spec}"] + [
        f"  {len(keys)} {fault}: {', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}"
        for fault, keys in faults.items()
        if keys
    ]
