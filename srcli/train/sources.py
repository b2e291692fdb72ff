"""Sources of training images: folders, data sets on the Hub and folders of pairs, each with a weight."""

from dataclasses import dataclass
from pathlib import Path

from srcli import datasets
from srcli.errors import DatasetError, UsageError
from srcli.train.text import parse_positive

_LR = ",lr="


@dataclass(frozen=True)
class ImageSource:
    """Image files; a pixel of them is drawn `weight` times as often as one of another source of weight 1.

    `partners`: their low-resolution images, one for each file; empty if they are made by downscaling.
    """

    name: str
    files: tuple[Path, ...]
    weight: float = 1.0
    partners: tuple[Path, ...] = ()


def parse(text: str, scale: int) -> ImageSource:
    """Parse a source written as `FOLDER`, `hub:OWNER/NAME` or `FOLDER,lr=FOLDER`, optionally with `=WEIGHT`.

    Folders are searched recursively. The partner of `a/b.png` is `a/b` or `a/bxSCALE` of any suffix.
    Raises `DatasetError` if no image is found or one has no partner, `UsageError` for a bad weight.
    """
    name, lr, weight = _parts(text)
    files = _files(name)
    partners = datasets.find_partners(Path(name), files, Path(lr), scale) if lr else ()
    return ImageSource(name, files, weight, partners)


def _parts(text: str) -> tuple[str, str, float]:
    """Split into name, folder of partners (or ""), and weight. An existing folder may have any name."""
    named, sign, number = text.rpartition("=")
    bare = not text or Path(text).is_dir() or not sign or named.endswith(_LR.removesuffix("="))
    name, _, lr = (text if bare else named).partition(_LR)
    return name, lr, 1.0 if bare else parse_positive(named, number, "FOLDER=2")


def _files(name: str) -> tuple[Path, ...]:
    if not name:
        raise UsageError("--data is empty", "give a folder, or hub:OWNER/NAME")
    if name.startswith(datasets.HUB):
        return datasets.find_dataset(name).files
    files = datasets.list_images(Path(name), recursive=True)
    if not files:
        raise DatasetError(f"no usable image in {name}", "give a folder that holds image files")
    return tuple(files)
