"""Named sets of high-resolution images: built in, from the Hugging Face Hub, or a folder."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from srcli.datasets import hub_collection
from srcli.engine.weights import hub
from srcli.errors import DatasetError, FileError, UsageError
from srcli.imaging.codecs.registry import is_image
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels
from srcli.manifest import HubFile
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256
from srcli.storage.locations import (
    ListedFile,
    RemotePath,
    download,
    list_files,
    parse_location,
    strip_pattern,
)

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Picture:
    """One image of a set; `grey`: one channel on file; `lr`: its low resolution, where that is given."""

    name: str
    pixels: Pixels
    grey: bool
    lr: Pixels | None = None


@dataclass(frozen=True)
class Dataset:
    """A name and the files of a set, in the order of their names.

    `root` is the folder they are in; `lr` the folder of their low-resolution partners, "" for none, in which
    `{scale}` stands for the scale.
    """

    name: str
    files: tuple[Path, ...]
    root: Path = Path()
    lr: str = ""

    def pictures(self) -> Iterator[Picture]:
        """The images, read one at a time, without their partners."""
        for path in self.files:
            yield read_picture(path)

    @property
    def names(self) -> tuple[str, ...]:
        """What the images are called: their files' stems, or their places where several have the same."""
        stems = tuple(path.stem for path in self.files)
        if len(set(stems)) == len(stems):
            return stems
        return tuple(path.relative_to(self.root).as_posix() for path in self.files)

    def find_partners(self, scale: float) -> tuple[Path, ...]:
        """The low-resolution file of each file; none where the set has none.

        Raises `DatasetError` where one is missing.
        """
        if not self.lr:
            return ()
        folder = _here(self.lr.replace("{scale}", str(scale)))
        inside = next((folder / f"{x}{scale}" for x in "Xx" if (folder / f"{x}{scale}").is_dir()), folder)
        return find_partners(self.root, self.files, inside, scale)


def read_picture(path: Path, lr: Path | None = None) -> Picture:
    """The image in a file, and its low resolution where that is in another."""
    image = read_image(path)
    return Picture(path.stem, image.pixels, image.grey, read_image(lr).pixels if lr else None)


def find_partners(root: Path, files: tuple[Path, ...], lr: Path, scale: float) -> tuple[Path, ...]:
    """For each file below `root` that of the same place and name below `lr`, or named as DIV2K's are.

    The partner of `a/b.png` is `a/b` or `a/bxSCALE` of any suffix. Raises `DatasetError` where it is missing.
    """
    found = {path.relative_to(lr).with_suffix(""): path for path in list_images(lr, recursive=True)}
    return tuple(_partner(file, file.relative_to(root), lr, found, scale) for file in files)


def _partner(file: Path, place: Path, lr: Path, found: dict[Path, Path], scale: float) -> Path:
    stem = place.with_suffix("")
    for name in (stem, stem.with_name(f"{stem.name}x{scale}")):
        if name in found:
            return found[name]
    raise DatasetError(
        f"{file} has no partner in {lr}", f"it would be {stem}.png or {stem}x{scale}.png there"
    )


def open_folder(path: Path, name: str = "") -> Dataset:
    """The images directly in a folder, or in the folders below it where it has none itself."""
    files = list_images(path) or list_images(path, recursive=True)
    if not files:
        raise DatasetError(f"no images in {path}", "give a folder that holds image files")
    return Dataset(name or path.resolve().name, tuple(files), path)


def list_images(path: Path, recursive: bool = False) -> list[Path]:
    """The image files in a folder, sorted; raises `DatasetError` where it can't be listed."""
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder", "check the path")
    try:
        return sorted(p for p in path.glob("**/*" if recursive else "*") if is_image(p) and p.is_file())
    except OSError as error:
        raise DatasetError(f"cannot list {path}: {error.strerror}", "check its permissions") from error


def load_samples() -> Dataset:
    """The few public-domain photographs that ship with the tool."""
    return open_folder(PACKAGE / "samples", "samples")


def _hub_set(name: str, revision: str) -> HubFile:
    """A tarball of high-resolution images, at a pinned commit."""
    return HubFile(f"eugenesiow/{name}", revision, f"data/{name}_HR.tar.gz", "dataset")


# What repositories of the Hub begin with, where a folder could be meant.
HUB = "hub:"
HUB_SETS = {
    "Set5": _hub_set("Set5", "325646fe7cc8811e312562437885c5c018c74966"),
    "Set14": _hub_set("Set14", "5c964717e61b4931236a6dd5561750d11e5a7abb"),
    "BSD100": _hub_set("BSD100", "600666edcba3b8386c367fcb03e72424a1ff9f86"),
    "Urban100": _hub_set("Urban100", "57309de03db02ac12ee09ad6127e7b815c211328"),
}


# Sets that can't be downloaded, and how many images they have.
OWN_COPY = {"Manga109": 109, "DIV2K-valid": 100}
# Of each set that papers use, how many images it has.
SIZES = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100, **OWN_COPY}
_LR = ",lr="


def find_dataset(text: str) -> Dataset:
    """A set by name, by folder, by URL or by repository of the Hub; what is downloaded is kept.

    `NAME=FOLDER` gives a folder a name, `,lr=FOLDER` behind any of them names the low-resolution partners.
    Raises `DatasetError` for what is none of these.
    """
    if not Path(text).is_dir() and _LR in text:
        name, _, lr = text.rpartition(_LR)
        if not lr:
            raise UsageError(f"'{text}' names no folder of partners", "write SET,lr=FOLDER")
        return replace(find_dataset(name), lr=lr)
    name, equals, where = text.partition("=")
    if equals and not Path(text).is_dir() and not isinstance(parse_location(text), RemotePath):
        if not name or not where:
            raise UsageError(f"'{text}' lacks a name or a folder", "write NAME=FOLDER")
        return open_folder(_here(where), name)
    return _named(text)


def _here(text: str) -> Path:
    """A folder by its path or, by its URL, a copy of the images in it."""
    where = parse_location(text)
    return where if isinstance(where, Path) else _copied(where)


def _copied(where: RemotePath) -> Path:
    """The images of a folder or a pattern in a store, kept by what the store says of them."""
    listed = _images_at(where)
    facts = [str(where), *(f"{each.location} {each.identity}" for each in listed)]
    digest = hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()
    target = get_cache_folder() / "datasets" / f"store-{digest[:24]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".sr-", dir=target.parent) as temporary:
            for each in listed:
                copy = Path(temporary, "set", each.location.relative_to(strip_pattern(where)))
                copy.parent.mkdir(parents=True, exist_ok=True)
                download(each.location, copy)
            with contextlib.suppress(FileExistsError):  # another process was faster
                Path(temporary, "set").rename(target)
    return target


def _images_at(where: RemotePath) -> list[ListedFile]:
    """As of `open_folder`: those in it, or where there are none those below."""
    for recursive in (False, True):
        found = sorted(each for each in list_files(where, recursive) if is_image(each.location))
        if found:
            return found
    raise DatasetError(f"no images in {where}", "give a folder that holds image files")


def _named(name: str) -> Dataset:
    if name == "samples":
        return load_samples()
    where = parse_location(name)
    if isinstance(where, RemotePath):
        return open_folder(_copied(where), strip_pattern(where).name)
    if where.is_dir():
        return open_folder(where)
    if name in HUB_SETS:
        return open_folder(_from_hub(name, HUB_SETS[name]), name)
    if name.startswith(HUB):
        return _collected(name)
    if name in OWN_COPY:
        hint = f"point to your copy: --dataset {name}=FOLDER"
        raise DatasetError(f"{name} can't be downloaded by sr", hint)
    known = ", ".join(["samples", *HUB_SETS])
    raise DatasetError(
        f"no data set or folder called '{name}'",
        f"named sets: {known}; your own: FOLDER or NAME=FOLDER; others: hub:OWNER/NAME",
    )


def _collected(name: str) -> Dataset:
    """`hub:` and a set's name, or a repository."""
    bare = name.removeprefix(HUB)
    if "/" not in bare:
        return _named(bare)
    wanted = hub_collection.parse_collection(bare)
    root = hub_collection.fetch_collection(wanted)
    return Dataset(wanted.repo.rpartition("/")[2], tuple(list_images(root, recursive=True)), root)


def _from_hub(name: str, source: HubFile) -> Path:
    target = get_cache_folder() / "datasets" / f"{name}-{source.revision[:12]}"
    if not target.is_dir():
        try:
            archive = hub.fetch(source)
        except hub.HubError as error:
            hint = "`--dataset samples` works now; or give a folder of the images with --dataset FOLDER"
            raise DatasetError(f"{name} is not on this machine ({error.message})", hint) from error
        _check_archive(archive)
        hub_collection.unpack([(source.file, archive)], target)
    _check_record(name, target)
    return target


def _check_record(name: str, place: Path) -> None:
    """Note the SHA-256 of every image at first use; raise `DatasetError` where one is another one later."""
    record = get_cache_folder() / "digests" / f"{place.name}.json"
    found = {str(path.relative_to(place)): sha256(path) for path in list_images(place, recursive=True)}
    if not record.exists():
        # A cache that may only be read was filled by somebody who keeps it.
        with contextlib.suppress(FileError), replace_atomically(record) as temporary:
            temporary.write_text(json.dumps(found, indent=1), "utf-8")
        return
    try:
        noted: dict[str, str] = dict(json.loads(record.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{record} can't be read: {error}", "delete it") from error
    changed = [file for file in sorted(noted | found) if noted.get(file) != found.get(file)]
    if changed:
        hint = f"delete {place} to unpack it again, or {record} if you trust what is there"
        raise DatasetError(f"{name} is not what it was: {', '.join(changed)} changed since first used", hint)


def _check_archive(archive: Path) -> None:
    if hub.stated_digest(archive) and hub.damaged(archive, None):
        hub.forget(archive)
        raise DatasetError(
            f"{archive.name} was damaged on its way and is deleted", "run the same command again"
        )
