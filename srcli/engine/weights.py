"""Weights: found, verified, read from safe formats only, and put into their network."""

import json
import pickle
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli import archs
from srcli.engine import hub
from srcli.errors import WeightsError
from srcli.files import replacing
from srcli.manifest import Entry, HubFile, bundled_models

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Spec:
    """Which network a weight file is for."""

    arch: str
    scale: int
    config: dict[str, Any] = field(default_factory=dict)


def locate(entry: Entry) -> Path:
    """The entry's file, verified: bundled, else cached, else downloaded.

    Raises `WeightsError` that names a bundled model which serves now, where none can be had.
    """
    if isinstance(entry.file, HubFile):
        return _from_hub(entry, entry.file)
    path = entry.bundled
    if path is None or not path.exists() or hub.sha256(path) != entry.sha256:
        raise WeightsError(f"the bundled weights of {entry.name} are missing or damaged", "reinstall sr")
    return path


def _from_hub(entry: Entry, file: HubFile) -> Path:
    try:
        return hub.verified(file.repo, file.revision, file.file, entry.sha256)
    except hub.HubError as error:
        instead = " or ".join(f"-m {model}" for model in bundled_models(entry.scale)) or "-m bicubic"
        raise WeightsError(
            f"{entry.name} is not on this machine ({error.message})",
            f"{instead} works now; or copy {file.repo} into {_cache()} from a machine with a network",
        ) from error


def _cache() -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def load(path: Path, spec: Spec) -> "nn.Module":
    """The network of `spec` with the weights in `path`.

    Raises `WeightsError` where keys or shapes differ, naming the first of them.
    """
    network = archs.build(spec.arch, spec.scale, spec.config)
    state = archs.rename(spec.arch, read_state(path))
    problem = _difference(network.state_dict(), state)
    if problem:
        raise WeightsError(
            f"{path} does not fit {spec.arch} x{spec.scale}: {problem}", "check model and scale"
        )
    network.load_state_dict(state)
    return network


def _difference(wanted: dict[str, "Tensor"], given: dict[str, "Tensor"]) -> str:
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    if missing:
        return f"{len(missing)} tensors missing, first {missing[0]}"
    if unexpected:
        return f"{len(unexpected)} tensors too many, first {unexpected[0]}"
    for key, tensor in wanted.items():
        if tensor.shape != given[key].shape:
            return f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}"
    return ""


def read_state(path: Path) -> dict[str, "Tensor"]:
    """Tensors by key from a safetensors file or a plain PyTorch checkpoint; code is never unpickled."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_exists(path)
    if path.suffix != ".safetensors" and not _is_checkpoint(path):
        raise WeightsError(f"{path} is no weight file", "give a .safetensors, .pth or .pt file")
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


def _is_checkpoint(path: Path) -> bool:
    """Whether the file begins as torch.save's do: a zip archive or, long ago, a pickle."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _tensors(state: Any, path: Path) -> dict[str, "Tensor"]:
    """The state dict itself, or the one that trainers wrap under a customary key."""
    import torch

    for key in ("params_ema", "params", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no tensors by name", "give a state_dict or a safetensors file")
    return state


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(f"{path} does not exist", "check --weights")


def save(path: Path, network: "nn.Module", spec: Spec, notes: dict[str, str]) -> None:
    """Write a safetensors file whose header says what it is: `spec`, and `notes` of its making."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    header = {"arch": spec.arch, "scale": str(spec.scale), "config": json.dumps(spec.config)}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt", **header, **notes})


def read_spec(path: Path) -> Spec | None:
    """What the header of one of our own files says; None for files of other makers."""
    _check_exists(path)
    header = read_header(path)
    try:
        return Spec(header["arch"], int(header["scale"]), json.loads(header.get("config", "{}")))
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
