"""The state of an installation, to be read by its user or pasted into a bug report."""

import os
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np

from srcli import __version__
from srcli.engine.runtimes.select import RUNTIMES
from srcli.engine.slots import describe_devices
from srcli.engine.weights.hub import is_reachable
from srcli.errors import wrap_exception
from srcli.manifest import DEFAULT_MODEL, find_user_folder
from srcli.methods import MethodOptions, load_method
from srcli.storage.files import get_cache_folder, get_state_folder

_PACKAGES = ("numpy", "pillow", "ncnn", "torch", "onnxruntime", "opencv-python-headless", "typer", "rich")
_SIDE, _SCALE, _ROUNDS = 96, 4, 3
# Extras that only bring other extras, or tools for developing sr.
_COLLECTIONS = ("all", "dev", "train")


@dataclass(frozen=True)
class RuntimeState:
    """A runtime on the default network."""

    name: Annotated[str, "name that `--runtime` takes"]
    megapixels_per_second: Annotated[float | None, "output at x4; null if it does not work"]
    where: Annotated[str, "device that runs it, and why"]
    problem: Annotated[str, "why it does not work; empty if it does"]


@dataclass(frozen=True)
class FolderState:
    """A folder of files that sr keeps."""

    name: Annotated[str, "what is in it"]
    path: Annotated[str, "path, with ~ for the user's home"]
    bytes: Annotated[int, "size of all files in it"]


@dataclass(frozen=True)
class Diagnosis:
    """Everything that `sr doctor` finds out."""

    version: Annotated[str, "version of sr"]
    python: Annotated[str, "version of Python"]
    system: Annotated[str, "operating system, processor and cores"]
    packages: Annotated[dict[str, str | None], "versions of important packages; null if missing"]
    devices: Annotated[dict[str, str], "descriptions of devices, by the name that `--device` takes"]
    runtimes: Annotated[tuple[RuntimeState, ...], "libraries that can run networks"]
    folders: Annotated[tuple[FolderState, ...], "caches and other folders of sr"]
    hub: Annotated[str, "address of the Hugging Face Hub"]
    hub_answers: Annotated[bool, "true if it answers"]
    extras: Annotated[dict[str, list[str]], "missing packages, by the extra of sr that brings them"]

    @property
    def works(self) -> bool:
        """True if any runtime upscales."""
        return any(not runtime.problem for runtime in self.runtimes)


def diagnose() -> Diagnosis:
    """Try every runtime, measure the caches, and ask whether the Hub answers; takes a few seconds."""
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return Diagnosis(
        __version__,
        platform.python_version(),
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        {name: _find_version(name) for name in _PACKAGES},
        dict(describe_devices()),
        tuple(map(_try_runtime, RUNTIMES)),
        tuple(_list_folders()),
        hub,
        is_reachable(hub),
        find_missing_extras(),
    )


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _try_runtime(name: str) -> RuntimeState:
    """Upscale a small image by the default network; the first run may prepare things and does not count."""
    pixels = np.random.default_rng(0).random((_SIDE, _SIDE, 3), np.float32)
    try:
        method = load_method(DEFAULT_MODEL, _SCALE, MethodOptions(runtime=name))
        result = method(pixels, _SCALE)
        seconds = min(_time(lambda: method(pixels, _SCALE)) for _ in range(_ROUNDS))
        if result.shape != (_SIDE * _SCALE, _SIDE * _SCALE, 3) or not np.isfinite(result).all():
            return RuntimeState(name, None, method.description, "its result is wrong")
    except Exception as error:
        return RuntimeState(name, None, "", wrap_exception(error, name).message)
    megapixels = result.shape[0] * result.shape[1] / 1e6
    return RuntimeState(name, round(megapixels / seconds, 3), method.description, "")


def _time(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def _list_folders() -> list[FolderState]:
    hub = os.environ.get("HF_HUB_CACHE") or Path(
        os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface", "hub"
    )
    folders = {
        "cache": get_cache_folder(),
        "jobs": get_state_folder(),
        "your models": find_user_folder(),
        "downloads": Path(hub),
    }
    return [FolderState(name, _shorten(path), measure_folder(path)) for name, path in folders.items()]


def _shorten(path: Path) -> str:
    """Return a path without the name of the user."""
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if home != "/" and str(path).startswith(home) else str(path)


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files in a folder; links and what cannot be read count as nothing."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            try:
                total += 0 if path.is_symlink() else path.stat().st_size
            except OSError:
                continue
    return total


def find_missing_extras() -> dict[str, list[str]]:
    """Return the packages that are missing for each extra of sr, as its own metadata lists them."""
    try:
        requirements = metadata.requires("sr-cli") or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        found = re.fullmatch(r"""([\w.-]+)(\[.*?\])?[^;]*;(.*)extra == ["']([\w-]+)["'](.*)""", requirement)
        if not found or found[1] == "sr-cli" or found[4] in _COLLECTIONS or not _applies(found[3] + found[5]):
            continue
        if _find_version(found[1]) is None:
            missing.setdefault(found[4], []).append(found[1])
    return missing


def _applies(marker: str) -> bool:
    """Tell whether the rest of a marker is for this system, as far as sr's own requirements use it."""
    systems = re.findall(r"""(sys_platform|platform_system) (==|!=) ["'](\w+)["']""", marker)
    here = {"sys_platform": sys.platform, "platform_system": platform.system()}
    return all((here[name] == value) == (sign == "==") for name, sign, value in systems)
