"""From an argument of `--dataset` to a data set: named sets, folders, URLs and Hugging Face repositories."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

from srcli.datasets import hub_collection
from srcli.datasets.folder import Dataset, list_images, load_samples, open_folder, open_pattern
from srcli.datasets.notation import HUB, DatasetText, is_pattern, parse_dataset
from srcli.datasets.remote import copy_remote_folder
from srcli.engine.weights import hub
from srcli.errors import DatasetError, FileError, UsageError
from srcli.manifest import HubFile
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256
from srcli.storage.locations import RemotePath, parse_location, strip_pattern


def _archive(name: str, revision: str) -> HubFile:
    return HubFile(f"eugenesiow/{name}", revision, f"data/{name}_HR.tar.gz", "dataset")


HUB_SETS = {
    "Set5": _archive("Set5", "325646fe7cc8811e312562437885c5c018c74966"),
    "Set14": _archive("Set14", "5c964717e61b4931236a6dd5561750d11e5a7abb"),
    "BSD100": _archive("BSD100", "600666edcba3b8386c367fcb03e72424a1ff9f86"),
    "Urban100": _archive("Urban100", "57309de03db02ac12ee09ad6127e7b815c211328"),
}
# Sets that cannot be downloaded, with their number of images.
OWN_COPY = {"Manga109": 109, "DIV2K-valid": 100}
# Number of images of each set that papers use.
SIZES = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, **OWN_COPY}


def find_dataset(text: str, *, is_measured: bool = True) -> Dataset:
    """Return a set by its text, see `notation.DatasetText`; downloads are kept in the cache.

    A set that `is_measured` has no weight. Raises `DatasetError` for what is no set, `UsageError` for what is
    not written like one.
    """
    wanted = parse_dataset(text)
    if is_measured and wanted.weight != 1:
        raise UsageError(f"'{text}' has a weight", "weights are for --data: leave it out")
    return open_dataset(wanted)


def open_dataset(wanted: DatasetText, *, recursive: bool = False) -> Dataset:
    """Return a set. `recursive`: of a folder, also the images in the folders below it."""
    found = _find_named(wanted.place, recursive=recursive)
    return replace(found, name=wanted.name or found.name, lr=wanted.lr)


def _find_named(name: str, *, recursive: bool = False) -> Dataset:
    if name == "samples":
        return load_samples()
    location = parse_location(name)
    if isinstance(location, RemotePath):
        return open_folder(copy_remote_folder(location), strip_pattern(location).name, recursive=recursive)
    if location.is_dir():
        return open_folder(location, recursive=recursive)
    if is_pattern(name):
        return open_pattern(name)
    if name in HUB_SETS:
        return open_folder(_fetch_set(name, HUB_SETS[name]), name)
    if name.startswith(HUB):
        return _find_on_hub(name.removeprefix(HUB))
    if name in OWN_COPY:
        hint = f"use the path of your copy: --dataset {name}=FOLDER"
        raise DatasetError(f"{name} cannot be downloaded by sr", hint)
    known = ", ".join(["samples", *HUB_SETS])
    raise DatasetError(
        f"no data set or folder called '{name}'",
        f"named sets: {known}; your own: FOLDER or NAME=FOLDER; others: hub:OWNER/NAME",
    )


def _find_on_hub(name: str) -> Dataset:
    """Return a named set, or a repository if there is a `/` in the name."""
    if "/" not in name:
        return _find_named(name)
    collection = hub_collection.parse_collection(name)
    root = hub_collection.fetch_collection(collection)
    return Dataset(collection.repo.rpartition("/")[2], tuple(list_images(root, recursive=True)), root)


def _fetch_set(name: str, source: HubFile) -> Path:
    target = get_cache_folder() / "datasets" / f"{name}-{source.revision[:12]}"
    if not target.is_dir():
        try:
            archive = hub.fetch(source)
        except hub.HubError as error:
            hint = "`--dataset samples` works offline; or use a folder of the images with --dataset FOLDER"
            raise DatasetError(f"{name} is not on this machine ({error.message})", hint) from error
        _check_archive(archive)
        hub_collection.unpack([(source.file, archive)], target)
    _check_digests(name, target)
    return target


def _check_digests(name: str, folder: Path) -> None:
    """Record the SHA-256 of every image at first use; raise `DatasetError` if one has changed since."""
    record = get_cache_folder() / "digests" / f"{folder.name}.json"
    digests = {str(path.relative_to(folder)): sha256(path) for path in list_images(folder, recursive=True)}
    if not record.exists():
        # A read-only cache was filled by somebody who looks after it.
        with contextlib.suppress(FileError), replace_atomically(record) as temporary:
            temporary.write_text(json.dumps(digests, indent=1), "utf-8")
        return
    try:
        recorded: dict[str, str] = dict(json.loads(record.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{record} cannot be read: {error}", "delete it") from error
    changed = [file for file in sorted(recorded | digests) if recorded.get(file) != digests.get(file)]
    if changed:
        hint = f"delete {folder} to unpack it again, or {record} if you trust the files"
        raise DatasetError(f"{name} has changed since its first use: {', '.join(changed)}", hint)


def _check_archive(archive: Path) -> None:
    if hub.read_stated_digest(archive) and hub.describe_damage(archive, None):
        hub.remove_cached(archive)
        raise DatasetError(
            f"{archive.name} was damaged in transit and has been deleted", "run the same command again"
        )
