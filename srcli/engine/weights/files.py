"""Weight files: locate and verify them, read safe formats only, and load them into their network."""

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
from srcli.manifest import Entry, HubFile, list_bundled_models
from srcli.scales import format_scale, parse_header_scale
from srcli.storage.files import replace_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn


def locate_weights(entry: Entry) -> Path:
    """Return the entry's file, verified: bundled, else cached, else downloaded.

    Raises `WeightsError` that names a bundled model to use instead if the file cannot be had.
    """
    if isinstance(entry.file, HubFile):
        return _from_hub(entry, entry.file)
    path = find_local(entry)
    if path is None or hub.describe_damage(path, entry.sha256):
        raise WeightsError(f"the bundled weights of {entry.name} are missing or damaged", "reinstall sr")
    return path


def find_local(entry: Entry) -> Path | None:
    """Return the entry's file if it is on this machine, unverified; nothing is downloaded."""
    if isinstance(entry.file, HubFile):
        return hub.find_cached(entry.file)
    path = entry.bundled
    return path if path and path.exists() else None


def _from_hub(entry: Entry, file: HubFile) -> Path:
    try:
        return hub.fetch_verified(file, entry.digest)
    except hub.HubError as error:
        instead = " or ".join(f"-m {model}" for model in list_bundled_models(entry.scale)) or "-m bicubic"
        raise WeightsError(
            f"{entry.name} is not on this machine ({error.message})",
            f"{error.hint or 'try again later'}; {instead} works now; "
            f"or copy {file.repo} into {hub.get_hub_cache()}",
        ) from error


def load_network(path: Path, spec: Spec) -> "nn.Module":
    """Return the network of `spec` with the weights in `path`.

    Raises `WeightsError` that names the first key or shape that differs.
    """
    network = archs.build(spec.arch, spec.scale, spec.config)
    state = archs.rename(spec.arch, read_state(path))
    fault = identify.compare_tensors(spec, network.state_dict(), state).first_fault()
    if fault:
        raise WeightsError(
            f"{path} does not fit {spec.arch} {format_scale(spec.scale)}: {fault}",
            "`sr models info FILE` shows what it is",
        )
    network.load_state_dict(state)
    return network


def read_state(path: Path) -> dict[str, "Tensor"]:
    """Return the tensors of a safetensors file or a PyTorch checkpoint, by key; code is never unpickled."""
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
            # torch asks to report unusual pickle protocols; what it cannot read safely it refuses anyway.
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
    """Raise `WeightsError` unless torch.save wrote the file: a zip archive or, long ago, a pickle."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        _check_archive(path)
    elif start not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError(f"{path} is not a weight file", "give a .safetensors, .pth or .pt file")


# Weights hardly compress, and few files are compressed at all.
_LARGEST_GROWTH = 20


def _check_archive(path: Path) -> None:
    """Raise `WeightsError` for a compressed archive that would fill the memory when it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise WeightsError(f"{path} is damaged: {error}", "download it again") from error
    if unpacked > _LARGEST_GROWTH * path.stat().st_size:
        raise WeightsError(
            f"{path} would unpack to {unpacked:,} bytes; not loaded", "real weights do not compress that much"
        )


_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "sd")


def _tensors(state: Any, path: Path) -> dict[str, "Tensor"]:
    """Return the state dict itself, or the one under a key that trainers usually wrap it in."""
    import torch

    while wrapper := next((key for key in _WRAPPERS if isinstance(_member(state, key), dict)), None):
        state = state[wrapper]
    named = isinstance(state, dict) and all(isinstance(key, str) for key in state)
    if not named or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no named tensors", "give a state_dict or a safetensors file")
    return dict(state)


def _member(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, dict) else None


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", "check --weights")


def save_network(path: Path, network: "nn.Module", spec: Spec, notes: dict[str, str]) -> None:
    """Write a safetensors file whose header has the `spec` and `notes` on how it was made."""
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
    """Return what a weight file is for: its header's spec, or every network (or size of `arch`) that fits."""
    own = read_spec(path)
    if own and arch in (None, own.arch):
        return [own]
    return identify.find_exact(read_state(path), arch)


def describe_misfit(path: Path, state: dict[str, "Tensor"], arch: str | None) -> str:
    """Return a message that the tensors fit no network, and which comes nearest."""
    near = identify.rank_fits(state, arch)[:1]
    about = f" (nearest is {near[0].spec}: {near[0].first_fault()})" if near else ""
    return f"{path} does not fit any {arch or 'network'} that sr has{about}"


def read_spec(path: Path) -> Spec | None:
    """Return the spec in the header of one of our own files; None for other files."""
    _check_exists(path)
    header = read_header(path)
    try:
        return Spec(
            header["arch"], parse_header_scale(header["scale"]), json.loads(header.get("config", "{}"))
        )
    except (KeyError, ValueError):
        return None


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for anything else. Needs no torch."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 10**8)))
        return dict(header.get("__metadata__", {}))
    except (OSError, struct.error, ValueError, AttributeError, TypeError):
        return {}


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
