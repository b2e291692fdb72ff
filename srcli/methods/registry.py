"""Names and weight files -> methods, ready to run.

What only weight files need is imported where it is used.
"""

import difflib
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import archs, manifest
from srcli.engine.export.converters import convert
from srcli.engine.runtimes import select
from srcli.engine.runtimes.base import Runtime, RuntimeRequest, WeightsSource
from srcli.engine.upscaler import Upscaler
from srcli.engine.weights import files as weights
from srcli.engine.weights import ncnn
from srcli.errors import UsageError, WeightsError
from srcli.imaging.resize import KERNELS
from srcli.methods import classical
from srcli.methods.auto import AUTO
from srcli.methods.base import Method, MethodOptions
from srcli.methods.interpolator import Interpolator
from srcli.methods.networks import chain_networks
from srcli.methods.pixel_art import PIXEL_ART, PixelArt
from srcli.methods.scaling import check_scale, plan_scale_chain
from srcli.methods.untrained import prepare_untrained
from srcli.scales import ANY, format_scale
from srcli.storage.hashing import sha256
from srcli.workers.progress import Log, ignore

if TYPE_CHECKING:
    from torch import nn

# Models that need no weight file.
WEIGHTLESS = (*KERNELS, PIXEL_ART, *classical.METHODS)


def list_models() -> list[str]:
    """Return everything that `--model` accepts."""
    return [*WEIGHTLESS, *manifest.list_models()]


def resolve_name(name: str) -> str:
    """Return the name of the model that is meant: of `RealESRGAN_x4plus`, realesrgan.

    Case, underscores and scales do not matter, and the names that files have where they are published are
    known. A name that is not understood is returned as it is.
    """
    models = list_models()
    if name in models:  # nearly always; the rest takes a hundredth of a second
        return name
    known = {*models, *archs.names()}
    plain = manifest.normalise_name(name)
    aliases = {entry.name: entry.model for entry in manifest.load()}
    aliases = manifest.list_aliases() | aliases
    for each in (name, plain, _SCALE_IN_NAME.sub("", plain)):
        if each in known:
            return each
        if each in aliases:
            return aliases[each]
    return name


# 4x-, x4-, -4x or -x4 at either end of a name.
_SCALE_IN_NAME = re.compile(r"^(x\d|\dx)-?|-(x\d|\dx)$")


def load_method(name: str, scale: float, options: MethodOptions = MethodOptions()) -> Method:
    """Return the method of that name, ready to enlarge by `scale`. Raises `SrError` if it cannot run here."""
    check_model(name, scale)
    if name in KERNELS:
        return Interpolator(name)
    if name == PIXEL_ART:
        return PixelArt(name)
    if name in classical.METHODS:
        return prepare_untrained(name, options)
    entries = manifest.find_entries(name)
    if options.realism:  # the entries that have a second set of weights, if any has
        entries = {own: entry for own, entry in entries.items() if entry.natural} or entries
    chain = plan_entries(entries, scale)
    unique = {entry.scale: entry for entry in chain}
    foreign = [entry for entry in chain if entry.is_foreign]
    if foreign:  # the largest step, as often as needed
        found = load_method_file(weights.locate_weights(foreign[0]), scale, options)
        return replace(found, name=name)
    stages = {
        own: _load_upscaler(_locate_entry(entry, options.realism), options) for own, entry in unique.items()
    }
    return chain_networks(name, [stages[entry.scale] for entry in chain])


def plan_entries(entries: dict[int, manifest.Entry], scale: float) -> list[manifest.Entry]:
    """Return the weights to run, in order, to enlarge by `scale`.

    If those at hand come from an installed package and others would have to be downloaded, only those at hand
    are used: `-m realesrgan -x2` then runs x4 and reduces its result.
    """
    chain = plan_scale_chain(scale, tuple(entries))
    if not all(weights.find_local(entries[own]) for own in chain):
        local = tuple(own for own, entry in entries.items() if entry.package and weights.find_local(entry))
        chain = plan_scale_chain(scale, local) if local else chain
    return [entries[own] for own in chain]


def load_methods(named: list[str], files: list[Path], scale: float, options: MethodOptions) -> list[Method]:
    """Return the methods of these names, without duplicates, followed by those of these weight files."""
    methods = [load_method(name, scale, options) for name in dict.fromkeys(named)]
    return methods + [load_method_file(file, scale, options) for file in files]


def load_method_file(
    path: Path, scale: float, options: MethodOptions = MethodOptions(), arch: str | None = None
) -> Method:
    """Return the method of a weight file or look-up table, identified by its header or its tensors.

    `arch` overrides the identification. Raises `WeightsError` for files that fit no network.
    """
    from srcli.engine.weights import lut, onnx
    from srcli.engine.weights.checkpoint import hold_checkpoint, release_checkpoints

    check_scale(scale, has_one=True)
    if lut.is_table(path):
        spec, stage = load_table(path, options)
        if arch not in (None, spec.arch):
            reason = f"{path} is a look-up table for {spec}, not for {arch}"
            raise WeightsError(reason, "leave out --arch and --model")
        return _repeat(path.stem, stage, scale, str(spec))
    if path.is_dir() or ncnn.find_pair(path):
        return _load_pairs(path, scale, options)
    if onnx.is_graph(path):
        from srcli.engine.runtimes.onnx import load_graph

        runtime = load_graph(path, _as_request(options))
        return _repeat(path.stem, _as_upscaler(runtime, None, options), scale, str(runtime.found))
    own = weights.read_spec(path)
    if own and arch in (None, own.arch):  # without torch, if it was converted before
        return _repeat(path.stem, _load_upscaler(WeightsSource(path, own), options), scale, str(own))
    with hold_checkpoint(path) as checkpoint:
        release_checkpoints()
        specs = weights.identify_specs(path, arch)
        if not specs and arch is None:
            return _load_foreign(path, scale, options)
        source = _settle_values(_select_spec(path, specs, scale, arch), options.log)
        identity = "; ".join(filter(None, (str(source.spec), checkpoint.taken)))
        return _repeat(path.stem, _load_upscaler(source, options), scale, identity)


def find_own_scale(path: Path, arch: str | None = None) -> int | None:
    """Return the scale that a weight file is for; None if it could be for several, or for any."""
    from srcli.engine.runtimes.ncnn_pair import examine_pair
    from srcli.engine.weights import lut, onnx, spandrel
    from srcli.engine.weights.checkpoint import keep_checkpoint

    if lut.is_table(path):
        return lut.read_tables(path)[0].scale
    if path.is_dir() or ncnn.find_pair(path):
        scales = {examine_pair(graph, ignore).info.scale for graph in _list_graphs(path)}
    elif onnx.is_graph(path):
        from srcli.engine.runtimes.onnx import examine_graph

        scales = {examine_graph(path).info.scale}
    elif (own := weights.read_spec(path)) and arch in (None, own.arch):
        scales = {own.scale}
    else:
        checkpoint = keep_checkpoint(path)
        scales = {spec.scale for spec in weights.identify_specs(path, arch)}
        if not scales and arch is None:
            misfit = weights.describe_misfit(path, checkpoint.state, None)
            scales = {spandrel.identify_network(checkpoint.state, misfit)[1]}
    return scales.pop() if len(scales) == 1 and ANY not in scales else None


def identify_weights(path: Path, scale: float, arch: str | None = None) -> WeightsSource:
    """Return what a weight file is for. Raises `SrError` if it fits no network or has another scale."""
    source = _select_spec(path, weights.identify_specs(path, arch), scale, arch)
    if source.spec.scale not in (scale, ANY):
        raise UsageError(f"{path} is for x{source.spec.scale}", "give that scale with -x")
    return _settle_values(source)


def locate_weights(name: str, scale: float) -> WeightsSource:
    """Return a model's weights for that scale, downloading them if needed.

    Raises `UsageError` if there are none.
    """
    check_model(name, scale)
    if name in WEIGHTLESS:
        raise UsageError(f"{name} has no weights", "name a network; `sr models` lists them")
    entries = manifest.find_entries(name)
    entry = manifest.select_entry(entries, scale)
    if entry is None:
        known = ", ".join(map(format_scale, entries))
        raise UsageError(f"{name} has no weights for x{scale}", f"it has weights for {known}")
    if entry.is_foreign:
        raise UsageError(f"{name} is of no network that sr has", "it can upscale, and nothing else")
    return _locate_entry(entry)


def load_table(path: Path, options: MethodOptions) -> tuple[archs.Spec, Upscaler]:
    """Return the network that a look-up table stands for, and the table ready to run, without torch."""
    from srcli.engine.runtimes.lut import prepare_tables
    from srcli.engine.weights import lut

    if options.device not in (None, "cpu"):
        raise UsageError(f"look-up tables run on the CPU, not on {options.device}", "leave out --device")
    spec, tables = lut.read_tables(path)
    return spec, _as_upscaler(prepare_tables(lut.build_upscaler(spec, tables)), spec, options)


def build_upscaler(network: "nn.Module", spec: archs.Spec, options: MethodOptions) -> Upscaler:
    """Return a network in memory as an upscaler that runs it with torch."""
    from srcli.engine.runtimes.torch import build

    runtime = build(network, spec.own_scale, _as_request(options))
    return _as_upscaler(runtime, spec, options)


def find_arch(name: str) -> str:
    """Return the network behind the name of a model or network. Raises `UsageError` for other names."""
    if name in archs.names():
        return name
    if name in WEIGHTLESS:
        raise UsageError(f"{name} has no weights", "leave out --weights or --model")
    return next(iter(manifest.find_entries(name).values())).arch


def find_licence(name: str, scale: float) -> str:
    """Return the licence of the weights that a model uses at a scale; `none` if it has no weights."""
    entries = {entry.scale: entry for entry in manifest.load() if entry.model == name}
    if not entries:
        return "none"
    return ", ".join(dict.fromkeys(entry.licence for entry in plan_entries(entries, scale)))


def check_model(name: str, scale: float) -> None:
    """Raise `UsageError` if `load_method` does not know the name or the scale; nothing is loaded."""
    if name == AUTO:
        raise UsageError("auto needs a picture to look at", "name a model; `sr models` lists them")
    own = {entry.scale for entry in manifest.load() if entry.model == name}
    check_scale(scale, has_one=1 in own)
    if name in list_models():
        return
    if name in archs.names():
        raise UsageError(
            f"{name} is a network without published weights",
            f"use a weight file with `-w FILE --arch {name}`, or train it with `sr train {name}`",
        )
    known = [*list_models(), *archs.names(), *manifest.list_aliases()]
    near = difflib.get_close_matches(manifest.normalise_name(name), known, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(f"no model called '{name}'", f"{hint}`sr models` lists all")


def check_own_scale(name: str, scale: float) -> None:
    """Raise `UsageError` if a network would overshoot a whole `scale`, so that its result is reduced."""
    check_model(name, scale)
    own = tuple(entry.scale for entry in manifest.load() if entry.model == name)
    if own and ANY not in own and scale == int(scale) and math.prod(plan_scale_chain(scale, own)) != scale:
        known = ", ".join(f"x{one}" for one in own)
        raise UsageError(
            f"{name} has no weights for x{scale}", f"it has weights for {known}; leave it out, or change -x"
        )


def _locate_entry(entry: manifest.Entry, realism: float = 0.0) -> WeightsSource:
    if realism and entry.natural:
        from srcli.methods.realism import blend_natural

        return blend_natural(entry, realism)
    spec, path = archs.Spec(entry.arch, entry.scale, entry.config), weights.locate_weights(entry)
    digest = None if ncnn.find_pair(path) else entry.digest
    cards = {"ncnn": entry.packed} if entry.packed else {}
    return WeightsSource(path, spec, digest, cards, entry.border)


def _select_spec(path: Path, specs: list[archs.Spec], scale: float, arch: str | None) -> WeightsSource:
    """Return the file as the one of `specs` that has `scale`, or as the only one there is."""
    if not specs:
        reason = weights.describe_misfit(path, weights.read_state(path), arch)
        raise WeightsError(reason, f"`sr models info {path}` shows what is in it")
    fitting = [spec for spec in specs if spec.scale == scale] or specs
    if len(fitting) == 1:
        return WeightsSource(path, fitting[0])
    if len({spec.arch for spec in fitting}) > 1:
        raise UsageError(f"{path} fits {' and '.join(map(str, fitting))}", "choose one with --arch")
    known = ", ".join(f"x{spec.scale}" for spec in fitting)
    raise UsageError(f"{path} could be for any of {known}", "give its scale with -x")


def _settle_values(source: WeightsSource, log: Log = ignore) -> WeightsSource:
    """Return a weight file with the values that its network wants, for files that do not say it."""
    from srcli.engine.weights import value_check

    spec, digest = value_check.settle_values(source.path, source.spec, log)
    return replace(source, spec=spec, digest=digest or source.digest)


def _load_upscaler(source: WeightsSource, options: MethodOptions) -> Upscaler:
    runtime, record = select.load_with_record(source, _as_request(options))
    is_mirroring = source.border == "mirror" or _is_mirroring(source.path)
    return replace(_as_upscaler(runtime, source.spec, options), mirrors_border=is_mirroring, record=record)


def _is_mirroring(path: Path) -> bool:
    """Return whether a file, whatever its name, is one that the manifest says sees images mirrored."""
    entries = [entry for entry in manifest.load() if entry.border == "mirror"]
    size = path.stat().st_size if path.is_file() else None
    return size in {entry.bytes for entry in entries} and sha256(path) in {entry.digest for entry in entries}


def _load_pairs(path: Path, scale: float, options: MethodOptions) -> Method:
    """Return the method of an ncnn pair, or of the pairs in a folder that make up the scale."""
    from srcli.engine.runtimes.ncnn_pair import describe_pair, examine_pair

    by_scale: dict[int, list[ncnn.Graph]] = {}
    for graph in _list_graphs(path):
        by_scale.setdefault(examine_pair(graph, options.log).info.scale, []).append(graph)
    chain = plan_scale_chain(scale, tuple(by_scale))
    for own in chain:
        if len(by_scale[own]) > 1:
            names = ", ".join(graph.param.name for graph in by_scale[own])
            raise UsageError(f"{path} has several pairs for x{own}", f"give one of them: {names}")
    stages = {own: _load_pair(by_scale[own][0], options) for own in set(chain)}
    identities = [describe_pair(by_scale[own][0]) for own in stages]
    return chain_networks(path.stem, [stages[own] for own in chain], "; ".join(identities))


def _list_graphs(path: Path) -> list[ncnn.Graph]:
    """Return the graph of an ncnn pair, or those of all pairs in a folder."""
    pair = ncnn.find_pair(path)
    graphs = [ncnn.read_graph(param) for param in ([pair] if pair else ncnn.list_pairs(path))]
    if not graphs:
        raise WeightsError(f"{path} has no ncnn pairs", "a pair is NAME.param and NAME.bin; or give a file")
    return graphs


def _load_pair(graph: ncnn.Graph, options: MethodOptions) -> Upscaler:
    """Return a pair as an upscaler, on any runtime if it is of a network that sr has."""
    from srcli.engine.runtimes.ncnn_pair import load_pair

    known = ncnn.identify_graph(graph)
    if known:
        return _load_upscaler(WeightsSource(graph.param, known.spec), options)
    if options.runtime not in ("auto", "ncnn"):
        raise UsageError(f"{options.runtime} cannot run {graph.param}: only ncnn can", "leave out --runtime")
    return _as_upscaler(load_pair(graph.param, _as_request(options)), None, options)


def _load_foreign(path: Path, scale: float, options: MethodOptions) -> Method:
    """Return the method of a weight file that only spandrel can identify."""
    from srcli.engine.runtimes.torch import build
    from srcli.engine.weights import spandrel

    state = weights.read_state(path)
    network, own = spandrel.identify_network(state, weights.describe_misfit(path, state, None))
    if options.runtime == "ncnn":
        raise UsageError(f"ncnn cannot run {path}: only spandrel supports it", "leave out --runtime")
    # One image is not shared among devices here: the first runs all of it.
    first = options.device.partition(",")[0] if options.device else None
    request = replace(_as_request(options), device=first)
    runtime = build(network, own, request, "only spandrel supports it")
    return _repeat(path.stem, _as_upscaler(runtime, None, options), scale, f"x{own}, known to spandrel")


def _repeat(name: str, stage: Upscaler, scale: float, identity: str) -> Method:
    """Return the chain that runs one network as often as needed to reach `scale`."""
    chain = plan_scale_chain(scale, (stage.scale,))
    return chain_networks(name, [stage] * len(chain), identity)


def _as_request(options: MethodOptions) -> RuntimeRequest:
    return RuntimeRequest(
        options.runtime,
        options.device,
        options.vram,
        options.pixels,
        options.log,
        options.wait,
        convert,
        options.approximate,
    )


def _as_upscaler(runtime: Runtime, spec: archs.Spec | None, options: MethodOptions) -> Upscaler:
    scale = spec.scale if spec else runtime.info.scale
    return Upscaler(
        runtime,
        scale,
        options.tile,
        options.self_ensemble,
        options.progress,
        options.report,
        spec,
        wait=options.wait,
    )
