"""Weights: found, verified, read from safe formats only, and put into their network."""

import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli import archs
from srcli.archs import Spec
from srcli.engine.weights import hub, identify
from srcli.errors import WeightsError
from srcli.manifest import Entry, HubFile, bundled_models
from srcli.scales import format_scale, parse_header_scale
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn


def locate_weights(entry: Entry) -> Path:
    """The entry's file, verified: bundled, else cached, else downloaded.

    Raises `WeightsError` that names a bundled model which serves now, where none can be had.
    """
    if isinstance(entry.file, HubFile):
        return _from_hub(entry, entry.file)
    path = find_local(entry)
    if path is None or hub.damaged(path, entry.sha256):
        raise WeightsError(f"the bundled weights of {entry.name} are missing or damaged", "reinstall sr")
    return path


def find_local(entry: Entry) -> Path | None:
    """The entry's file where it is on this machine, unverified; nothing is downloaded."""
    if isinstance(entry.file, HubFile):
        return hub.cached(entry.file)
    path = entry.bundled
    return path if path and path.exists() else None


def _from_hub(entry: Entry, file: HubFile) -> Path:
    try:
        return hub.verified(file, entry.digest)
    except hub.HubError as error:
        instead = " or ".join(f"-m {model}" for model in bundled_models(entry.scale)) or "-m bicubic"
        raise WeightsError(
            f"{entry.name} is not on this machine ({error.message})",
            f"{error.hint or 'try again later'}; {instead} works now; or copy {file.repo} into {hub.cache()}",
        ) from error


def load_network(path: Path, spec: Spec) -> "nn.Module":
    """The network of `spec` with the weights in `path`.

    Raises `WeightsError` where keys or shapes differ, naming the first of them.
    """
    network = archs.build(spec.arch, spec.scale, spec.config)
    state = archs.rename(spec.arch, read_state(path))
    fault = identify.compare(spec, network.state_dict(), state).first_fault()
    if fault:
        raise WeightsError(
            f"{path} does not fit {spec.arch} {format_scale(spec.scale)}: {fault}",
            "`sr models info FILE` says what it is",
        )
    network.load_state_dict(state)
    return network


def read_state(path: Path) -> dict[str, "Tensor"]:
    """Tensors by key from a safetensors file or a plain PyTorch checkpoint; code is never unpickled."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_exists(path)
    if path.suffix != ".safetensors":
        _check_checkpoint(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # torch asks to report unusual pickle protocols; what it can't read safely it refuses anyway.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects, which could run code; not loaded",
            "ask its author for a state_dict or a safetensors file",
        ) from error
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError, LookupError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} is damaged: {reason}", "download it again") from error
    return _tensors(state, path)


def _check_checkpoint(path: Path) -> None:
    """Refuse what torch.save did not write: it makes a zip archive or (long ago) a pickle."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        _check_archive(path)
    elif start not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError(f"{path} is no weight file", "give a .safetensors, .pth or .pt file")


# Weights hardly shrink by compression, and few files are compressed at all.
_LARGEST_GROWTH = 20


def _check_archive(path: Path) -> None:
    """Refuse a compressed archive that would fill the memory when it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path} is damaged: {error}", "download it again") from error
    if unpacked > _LARGEST_GROWTH * path.stat().st_size:
        raise WeightsError(
            f"{path} would unpack to {unpacked:,} bytes; not loaded", "no weights can be packed so small"
        )


_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "sd")


def _tensors(state: Any, path: Path) -> dict[str, "Tensor"]:
    """The state dict itself, or the one that trainers wrap under a customary key."""
    import torch

    while wrapper := next((key for key in _WRAPPERS if isinstance(_member(state, key), dict)), None):
        state = state[wrapper]
    named = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not named or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no tensors by name", "give a state_dict or a safetensors file")
    return dict(state)


def _member(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, dict) else None


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", "check --weights")


def save_network(path: Path, network: "nn.Module", spec: Spec, notes: dict[str, str]) -> None:
    """Write a safetensors file whose header says what it is: `spec`, and `notes` of its making."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    header = {
        "arch": spec.arch,
        "scale": format_scale(spec.scale).removeprefix("x"),
        "config": json.dumps(spec.config),
    }
    with replace_atomically(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt", **header, **notes})


def identify_specs(path: Path, arch: str | None = None) -> list[Spec]:
    """What a weight file is for: what its header says, or every network (or size of `arch`) that it fits."""
    own = read_spec(path)
    if own and arch in (None, own.arch):
        return [own]
    return identify.exact(read_state(path), arch)


def describe_misfit(path: Path, state: dict[str, "Tensor"], arch: str | None) -> str:
    """In words that the tensors fit nothing, and what comes nearest."""
    near = identify.fits(state, arch)[:1]
    about = f" (nearest is {near[0].spec}: {near[0].first_fault()})" if near else ""
    return f"{path} fits no {arch or 'network'} that sr has{about}"


def read_spec(path: Path) -> Spec | None:
    """What the header of one of our own files says; None for files of other makers."""
    _check_exists(path)
    header = read_header(path)
    try:
        return Spec(
            header["arch"], parse_header_scale(header["scale"]), json.loads(header.get("config", "{}"))
        )
    except (KeyError, ValueError):
        return None


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for anything else. Needs no torch."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 10**8)))
        return dict(header.get("__metadata__", {}))
    except (OSError, struct.error, ValueError, AttributeError, TypeError):
        return {}


def blend_networks(first: Path, second: Path, share: float, target: Path) -> Spec:
    """Write the network between two of a kind: `share` of the second's weights, the rest of the first's.

    ESRGAN's network interpolation, https://arxiv.org/abs/1809.00219, section 3.4, between a network that
    was trained for PSNR and the one that began with it against a discriminator.
    """
    specs = [spec for spec in identify_specs(first) if spec in identify_specs(second)]
    if not specs:
        raise WeightsError(f"{first} and {second} are not of the same network", "give two that are")
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
