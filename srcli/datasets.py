"""Named sets of high-resolution images: built in, from the Hugging Face Hub, or a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import DatasetError
from srcli.imaging.image import is_image, read
from srcli.imaging.pixels import Pixels

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
