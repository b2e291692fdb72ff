"""Weights made ready to run: by ncnn on a CPU where it can, else by torch; chosen once, with the reason."""

import importlib.util
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import archs
from srcli.archs import Spec
from srcli.engine.device import choose, gpu_likely, keep_memory, threads, wait_briefly
from srcli.engine.runtimes.base import Runtime
from srcli.engine.runtimes.multi_device import MultiDeviceRuntime
from srcli.engine.weights import files, ncnn_cache
from srcli.engine.weights.ncnn_cache import Found
from srcli.errors import FileError, UsageError
from srcli.scales import ANY
from srcli.storage.hashing import sha256
from srcli.workers.progress import Log, ignore

if TYPE_CHECKING:
    from torch import nn

    from srcli.engine.runtimes.torch import TorchRuntime

RUNTIMES = ("auto", "torch", "ncnn")


@dataclass(frozen=True)
class WeightsSource:
    """Weights in a file, and what they are for.

    `digest`: the file's SHA-256, where it was verified; `card`: that of its packed form's card, if one ships.
    """

    path: Path
    spec: Spec
    digest: str | None = None
    card: str | None = None


@dataclass(frozen=True)
class RuntimeRequest:
    """What was asked for; `vram`: bytes of a GPU at most; `log` hears what is decided on the way."""

    runtime: str = "auto"
    device: str | None = None
    vram: int | None = None
    log: Log = ignore


def from_file(source: WeightsSource, wanted: RuntimeRequest) -> Runtime:
    """The network in a file, ready. torch is not imported where ncnn runs it and has it packed already.

    Several devices share the tiles. Raises `UsageError` for a runtime that does not exist or can't run it.
    """
    names = (wanted.device or "").split(",")
    if len(names) > 1:
        return MultiDeviceRuntime(tuple(from_file(source, replace(wanted, device=name)) for name in names))
    wait_briefly()
    against = _against_ncnn(wanted) or _no_graph(source.spec)
    if not against:
        found = _packed(source)
        if not found.refused:
            return _on_ncnn(found, wanted)
        against = found.refused
    if wanted.runtime == "ncnn":
        raise UsageError(f"ncnn cannot run {source.spec.arch}: {against}", "leave out --runtime")
    return _on_torch(source, wanted, against)


def _against_ncnn(wanted: RuntimeRequest) -> str:
    """Why ncnn does not come into question whatever the network; empty where it does."""
    if wanted.runtime not in RUNTIMES:
        raise UsageError(f"no runtime called '{wanted.runtime}'", f"known: {', '.join(RUNTIMES)}")
    if wanted.runtime == "torch":
        return "asked for"
    if wanted.device not in (None, "cpu"):
        return "ncnn runs on the CPU only"
    if importlib.util.find_spec("ncnn") is None:
        return "ncnn is not installed"
    asks_for_cpu = wanted.device == "cpu" or wanted.runtime == "ncnn"
    if not asks_for_cpu and gpu_likely() and choose().name != "cpu":
        return "ncnn runs on the CPU only"
    return ""


def _no_graph(spec: Spec) -> str:
    return "its scale is an input" if spec.scale == ANY else ""


def _packed(source: WeightsSource) -> Found:
    """The network's packed form: shipped, kept from an earlier run, or made now."""
    if source.card:
        return ncnn_cache.shipped(source.path, source.card)
    digest = source.digest or sha256(source.path)
    place = ncnn_cache.kept(digest, source.spec)
    return ncnn_cache.find(place) or _pack_once(source, digest, place)


def _pack_once(source: WeightsSource, digest: str, place: Path) -> Found:
    """By one process, however many want it; the others wait for what it makes."""
    from filelock import FileLock

    with ExitStack() as held:
        with suppress(OSError):  # where nothing can be kept, each has to
            place.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(f"{place}.lock"))
        return ncnn_cache.find(place) or _pack(source, digest, place)


def _pack(source: WeightsSource, digest: str, place: Path) -> Found:
    from srcli.engine.export import Unexportable
    from srcli.engine.export.ncnn.pack import pack

    spec = source.spec
    network, _ = archs.deploy(spec.arch, spec.scale, spec.config, files.load(source.path, spec))
    try:
        made, _ = pack(network, own_scale(spec))
        ncnn_cache.write(place, made, digest)
    except Unexportable as error:
        ncnn_cache.refuse(place, error.message)
        return Found(place, refused=error.message)
    except FileError as error:
        return Found(place, refused=error.message)
    return ncnn_cache.find(place) or Found(place, refused="what was written cannot be read")


def own_scale(spec: Spec) -> int:
    """The scale of the network's own tensors."""
    return 1 if archs.traits(spec.arch).pre_upsampled else spec.scale


def _on_ncnn(found: Found, wanted: RuntimeRequest) -> Runtime:
    from srcli.engine.runtimes.ncnn import prepare

    keep_memory()
    device = "asked for" if wanted.device else "no GPU found"
    why = "asked for" if wanted.runtime == "ncnn" else "fastest on a CPU"
    return prepare(found, threads(), f"cpu, float32 ({device}), by ncnn ({why})")


def _on_torch(source: WeightsSource, wanted: RuntimeRequest, why: str) -> Runtime:
    spec = source.spec
    import torch

    chosen = choose(wanted.device)  # a name that is wrong is told before anything is loaded
    torch.set_num_threads(threads())
    keep_memory()
    network = files.load(source.path, spec)
    hastened = chosen.name == "cpu" and _hastened(network, source)
    traits = archs.traits(spec.arch)
    return on_torch(network, spec.scale, traits, wanted, why, channels_last=not hastened)


def _hastened(network: "nn.Module", source: WeightsSource) -> bool:
    """Whether layers of the network, which is changed, were exchanged for faster ones."""
    from srcli.engine.runtimes.winograd import use_winograd

    network.eval()
    return use_winograd(network, int(network.channels), str(source.spec))  # type: ignore[arg-type]


def on_torch(
    network: "nn.Module",
    scale: int,
    traits: archs.Traits,
    wanted: RuntimeRequest,
    why: str = "",
    *,
    channels_last: bool = True,
) -> "TorchRuntime":
    """A network on the device asked for, or the fastest; `why` it is torch that runs it."""
    from srcli.engine.runtimes.backends import select_backend
    from srcli.engine.runtimes.half import in_half
    from srcli.engine.runtimes.torch import prepare

    keep_memory()
    chosen = choose(wanted.device)
    own, backend = 1 if traits.pre_upsampled else scale, select_backend(chosen, wanted.vram)
    runtime = prepare(network, own, chosen, why, channels_last=channels_last, backend=backend, log=wanted.log)
    return in_half(runtime) if chosen.name.startswith("cuda") else runtime
