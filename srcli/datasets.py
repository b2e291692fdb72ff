"""Named sets of high-resolution images: built in, from the Hugging Face Hub, or a folder."""

import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.engine import hub
from srcli.errors import DatasetError
from srcli.files import cache_folder
from srcli.imaging.image import is_image, read
from srcli.imaging.pixels import Pixels
from srcli.manifest import HubFile

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """One image of a set; `grey`: its file has one channel."""

    name: str
    pixels: Pixels
    grey: bool


@dataclass(frozen=True)
class Dataset:
    """A name and the files of a set, in the order of their names."""

    name: str
    files: tuple[Path, ...]

    def pictures(self) -> Iterator[Picture]:
        """The images, read one at a time."""
        for path in self.files:
            image = read(path)
            yield Picture(path.stem, image.pixels, image.grey)


def folder(path: Path, name: str = "") -> Dataset:
    """The images directly in a folder, or in the folders below it where it has none itself."""
    files = images_in(path) or images_in(path, recursive=True)
    if not files:
        raise DatasetError(f"no images in {path}", "give a folder that holds image files")
    return Dataset(name or path.resolve().name, tuple(files))


def images_in(path: Path, recursive: bool = False) -> list[Path]:
    """The image files in a folder, sorted; raises `DatasetError` where it can't be listed."""
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder", "check the path")
    try:
        return sorted(p for p in path.glob("**/*" if recursive else "*") if is_image(p) and p.is_file())
    except OSError as error:
        raise DatasetError(f"cannot list {path}: {error.strerror}", "check its permissions") from error


def samples() -> Dataset:
    """The few public-domain photographs that ship with the tool."""
    return folder(PACKAGE / "samples", "samples")


def _hub_set(name: str, revision: str) -> HubFile:
    """A tarball of high-resolution images, at a pinned commit."""
    return HubFile(f"eugenesiow/{name}", revision, f"data/{name}_HR.tar.gz", "dataset")


HUB_SETS = {
    "Set5": _hub_set("Set5", "325646fe7cc8811e312562437885c5c018c74966"),
    "Set14": _hub_set("Set14", "5c964717e61b4931236a6dd5561750d11e5a7abb"),
    "BSD100": _hub_set("BSD100", "600666edcba3b8386c367fcb03e72424a1ff9f86"),
    "Urban100": _hub_set("Urban100", "57309de03db02ac12ee09ad6127e7b815c211328"),
}


def find(name: str) -> Dataset:
    """A set by name or by folder; named ones are downloaded once and kept.

    Raises `DatasetError` for a name that is neither.
    """
    if name == "samples":
        return samples()
    if Path(name).is_dir():
        return folder(Path(name))
    if name in HUB_SETS:
        return folder(_from_hub(name, HUB_SETS[name]), name)
    known = ", ".join(["samples", *HUB_SETS])
    raise DatasetError(f"no data set or folder called '{name}'", f"named sets: {known}")


def _from_hub(name: str, source: HubFile) -> Path:
    target = cache_folder() / "datasets" / f"{name}-{source.revision[:12]}"
    if not target.is_dir():
        try:
            archive = hub.fetch(source)
        except hub.HubError as error:
            hint = "`--dataset samples` works now; or give a folder of the images with --dataset FOLDER"
            raise DatasetError(f"{name} is not on this machine ({error.message})", hint) from error
        _check_archive(archive)
        _unpack(archive, target)
    return target


def _check_archive(archive: Path) -> None:
    if hub.stated_digest(archive) and hub.damaged(archive, None):
        hub.forget(archive)
        raise DatasetError(
            f"{archive.name} was damaged on its way and is deleted", "run the same command again"
        )


def _unpack(archive: Path, target: Path) -> None:
    """The archive's images, without its folders; `target` appears whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary, tarfile.open(archive) as tar:
            unpacked = Path(temporary) / target.name
            unpacked.mkdir()
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if member.isfile() and is_image(Path(name)) else None
                if content:
                    (unpacked / name).write_bytes(content.read())
            unpacked.rename(target)
    except (tarfile.TarError, EOFError) as error:
        raise DatasetError(f"{archive} is damaged: {error}", "delete it and try again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(
            f"cannot unpack into {target}: {reason}", "set SR_CACHE to another folder"
        ) from error
