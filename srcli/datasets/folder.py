"""A set of image files in a folder, with low-resolution partners if there are any."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.datasets.remote import copy_remote_folder
from srcli.errors import DatasetError
from srcli.imaging.codecs.registry import is_image
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels
from srcli.storage.locations import parse_location

SAMPLES = Path(__file__).parents[1] / "samples"
_SAMPLE_NAMES = ("astronaut", "camera", "chelsea", "coffee")


@dataclass(frozen=True)
class Picture:
    """One image of a set; `grey`: one channel on file; `lr`: its low-resolution version, if one is given."""

    name: str
    pixels: Pixels
    grey: bool
    lr: Pixels | None = None


@dataclass(frozen=True)
class Dataset:
    """A named set of files, sorted by name.

    `root` is the folder they are in; `lr` the folder of their low-resolution partners, in which `{scale}`
    stands for the scale, or "" if there are none.
    """

    name: str
    files: tuple[Path, ...]
    root: Path = Path()
    lr: str = ""

    def read_pictures(self) -> Iterator[Picture]:
        """Read the images one at a time, without their partners."""
        for path in self.files:
            yield read_picture(path)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images: the stems of their files, or their paths in the folder if stems repeat."""
        stems = tuple(path.stem for path in self.files)
        if len(set(stems)) == len(stems):
            return stems
        return tuple(path.relative_to(self.root).as_posix() for path in self.files)

    def find_partners(self, scale: float) -> tuple[Path, ...]:
        """Return the low-resolution file of each file; nothing if the set has none.

        Raises `DatasetError` if one is missing.
        """
        if not self.lr:
            return ()
        folder = resolve_folder(self.lr.replace("{scale}", str(scale)))
        inside = next((folder / f"{x}{scale}" for x in "Xx" if (folder / f"{x}{scale}").is_dir()), folder)
        return find_partners(self.root, self.files, inside, scale)


def read_picture(path: Path, lr: Path | None = None) -> Picture:
    """Read the image in a file, and its low-resolution version from another file if that is given."""
    image = read_image(path)
    return Picture(path.stem, image.pixels, image.grey, read_image(lr).pixels if lr else None)


def find_partners(root: Path, files: tuple[Path, ...], lr: Path, scale: float) -> tuple[Path, ...]:
    """Return for each file below `root` its low-resolution partner below `lr`.

    The partner of `a/b.png` is `a/b` or, as in DIV2K, `a/bxSCALE`, with any image suffix. Raises
    `DatasetError` if it is missing.
    """
    by_stem = {path.relative_to(lr).with_suffix(""): path for path in list_images(lr, recursive=True)}
    partners = []
    for file in files:
        stem = file.relative_to(root).with_suffix("")
        partner = by_stem.get(stem) or by_stem.get(stem.with_name(f"{stem.name}x{scale}"))
        if partner is None:
            hint = f"expected {stem}.png or {stem}x{scale}.png there"
            raise DatasetError(f"{file} has no partner in {lr}", hint)
        partners.append(partner)
    return tuple(partners)


def open_folder(path: Path, name: str = "") -> Dataset:
    """Return the images directly in a folder or, if it has none, those in the folders below it."""
    files = list_images(path) or list_images(path, recursive=True)
    if not files:
        raise DatasetError(f"no images in {path}", "choose a folder that contains image files")
    return Dataset(name or path.resolve().name, tuple(files), path)


def list_images(path: Path, recursive: bool = False) -> list[Path]:
    """Return the image files in a folder, sorted. Raises `DatasetError` if it cannot be listed."""
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder", "check the path")
    try:
        return sorted(p for p in path.glob("**/*" if recursive else "*") if is_image(p) and p.is_file())
    except OSError as error:
        raise DatasetError(f"cannot list {path}: {error.strerror}", "check its permissions") from error


def load_samples() -> Dataset:
    """Return the few public-domain photographs that are part of the package."""
    # By name: the figures that bench checks itself by are of these files, whatever else lies beside them.
    return Dataset("samples", tuple(SAMPLES / f"{name}.png" for name in _SAMPLE_NAMES), SAMPLES)


def resolve_folder(text: str) -> Path:
    """Return a folder by its path, or a local copy of the images in a remote one."""
    location = parse_location(text)
    return location if isinstance(location, Path) else copy_remote_folder(location)
