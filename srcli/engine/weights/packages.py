"""Weights that other packages of the registry carry: ncnn pairs, found without importing the package."""

import importlib.util
from pathlib import Path

from srcli.errors import WeightsError
from srcli.manifest import PackageFile
from srcli.storage.hashing import sha256


def find_installed(package: PackageFile) -> Path | None:
    """Return the .param file of the pair if its package is installed, unverified."""
    module = importlib.util.find_spec(package.module)
    for folder in (module.submodule_search_locations or ()) if module else ():
        path = Path(folder) / package.file
        if path.is_file():
            return path
    return None


def describe_damage(path: Path, package: PackageFile) -> str:
    """Return what is wrong with the files of a pair; empty if they are as they should be."""
    for suffix, wanted in package.sha256.items():
        file = path.with_suffix(f".{suffix}")
        found = sha256(file) if file.is_file() else "missing"
        if found != wanted:
            return f"the SHA-256 of {file.name} is {found}, not {wanted}"
    return ""


def find_verified(package: PackageFile) -> Path | None:
    """Return the .param file of the pair, or None. Raises `WeightsError` if it is damaged."""
    path = find_installed(package)
    problem = describe_damage(path, package) if path else ""
    if problem:
        raise WeightsError(f"{path} is damaged: {problem}", f"reinstall {suggest_extra(package)}")
    return path


def suggest_extra(package: PackageFile) -> str:
    """Return what `pip install` needs to bring the package."""
    return f"'sr-cli[{package.extra}]'"
