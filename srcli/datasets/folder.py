"""A set of image files in a folder, with low-resolution partners if there are any."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.datasets.notation import is_pattern
from srcli.datasets.pairs import Key, find_scale_folder, match_names
from srcli.datasets.remote import copy_remote_folder
from srcli.engine.limits import read_within_limit
from srcli.errors import DatasetError
from srcli.imaging.codecs.registry import is_image
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

    `root` is the folder they are in; `lr` the place of their low-resolution partners, a folder or a pattern,
    in which `{scale}` stands for the scale, or "" if there are none.
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
        found = find_partners(self.root, self.files, self.lr, scale)
        missing = next((file for file in self.files if file not in found), None)
        if missing:
            hint = "remove it, or add its low-resolution version"
            if missing in found.values():  # both are in one folder
                hint = "name both by patterns, as in 'all/*_HR.png,lr=all/*_LR.png'"
            raise DatasetError(f"{missing} has no partner in {_name_place(self.lr, scale)}", hint)
        return tuple(found[file] for file in self.files)


def read_picture(path: Path, lr: Path | None = None, max_pixels: int | None = None) -> Picture:
    """Read the image in a file, and its low-resolution version from another file if that is given."""
    image = read_within_limit(path, max_pixels)
    small = read_within_limit(lr, max_pixels).pixels if lr else None
    return Picture(path.stem, image.pixels, image.grey, small)


def find_partners(root: Path, files: tuple[Path, ...], lr: str, scale: float) -> dict[Path, Path]:
    """Return the low-resolution partners of files below `root`, of those that have one.

    `lr`: a pattern, or a folder that may have one of the scale and may be `root` itself; `{scale}` in it
    stands for the scale. The names are matched as in `pairs.match_names`. Raises `DatasetError` if no file
    has a partner.
    """
    lr = _name_place(lr, scale)
    if is_pattern(lr):
        candidates = open_pattern(lr)
        folder, found = candidates.root, candidates.files
    else:
        folder = find_scale_folder(resolve_folder(lr), scale)
        found = tuple(list_images(folder, recursive=True))
    low = {_key(path, folder): path for path in found}
    high = {_key(path, root): path for path in files}
    together = folder.resolve() == root.resolve()
    matches = match_names(list(high), low, together)
    if not matches:
        stem = files[0].stem
        raise DatasetError(
            f"{files[0]} has no partner in {folder}", f"expected {stem}.png or {stem}x{scale}.png there"
        )
    return {high[key]: low[other] for key, other in matches.items()}


def _name_place(lr: str, scale: float) -> str:
    """Return the place with the scale in it."""
    return lr.replace("{scale}", str(scale))


def _key(path: Path, root: Path) -> Key:
    inside = path.relative_to(root)
    return inside.parent.as_posix(), inside.stem


def open_folder(path: Path, name: str = "", *, recursive: bool = False) -> Dataset:
    """Return the images directly in a folder or, if it has none or if `recursive`, also those below it."""
    files = (not recursive and list_images(path)) or list_images(path, recursive=True)
    if not files:
        raise DatasetError(f"no images in {path}", "choose a folder that contains image files")
    return Dataset(name or path.resolve().name, tuple(files), path)


def open_pattern(text: str) -> Dataset:
    """Return the images whose paths match a pattern, in which `**` stands for any folders."""
    parts = Path(text).parts
    fixed = next(number for number, part in enumerate(parts) if is_pattern(part))
    root = Path(*parts[:fixed])
    found = sorted(path for path in root.glob(str(Path(*parts[fixed:]))) if is_image(path) and path.is_file())
    if not found:
        raise DatasetError(f"no images match {text}", "check the pattern, and quote it for the shell")
    return Dataset(root.resolve().name, tuple(found), root)


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
    # By name: bench checks itself against figures of exactly these files.
    return Dataset("samples", tuple(SAMPLES / f"{name}.png" for name in _SAMPLE_NAMES), SAMPLES)


def resolve_folder(text: str) -> Path:
    """Return a folder by its path, or a local copy of the images in a remote one."""
    location = parse_location(text)
    return location if isinstance(location, Path) else copy_remote_folder(location)
