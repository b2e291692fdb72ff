"""Sources of training images: data sets, with low-resolution partners or without, each with a weight."""

from dataclasses import dataclass
from pathlib import Path

from srcli import datasets
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.codecs.reading import read_info


@dataclass(frozen=True)
class ImageSource:
    """Image files; a pixel of them is drawn `weight` times as often as one of another source of weight 1.

    `partners`: their low-resolution images, one for each file; empty if they are made by downscaling.
    `crops`: height and width that remain of each file to fit its partner, None for all of it; `left_out`:
    files without a usable partner, and why.
    """

    name: str
    files: tuple[Path, ...]
    weight: float = 1.0
    partners: tuple[Path, ...] = ()
    crops: tuple[tuple[int, int] | None, ...] = ()
    left_out: tuple[str, ...] = ()


def parse(text: str, scale: int) -> ImageSource:
    """Parse a source, see `datasets.DatasetText`; a folder is searched recursively.

    An image may be larger than its partner by less than the scale, and is then cropped. Raises `DatasetError`
    if no image or no usable pair is found, `UsageError` for a bad weight.
    """
    if not text:
        raise UsageError("--data is empty", "give a folder, or hub:OWNER/NAME")
    wanted = datasets.parse_dataset(text)
    found = datasets.open_dataset(wanted, recursive=True)
    if not wanted.lr:
        return ImageSource(wanted.place, found.files, wanted.weight)
    partners = datasets.find_partners(found.root, found.files, wanted.lr, scale)
    return _pair(wanted.place, found.files, partners, scale, wanted.weight)


def _pair(
    name: str, files: tuple[Path, ...], partners: dict[Path, Path], scale: int, weight: float
) -> ImageSource:
    """Keep the files whose partner is readable and fits."""
    pairs: list[tuple[Path, Path, tuple[int, int] | None]] = []
    left_out: list[str] = []
    low = set(partners.values())
    for file in files:
        if file in low:  # both are in one folder
            continue
        if file not in partners:
            left_out.append(f"{file} has no partner")
            continue
        try:
            pairs.append((file, partners[file], _find_crop(file, partners[file], scale)))
        except SrError as error:
            left_out.append(error.message)
    if not pairs:
        raise DatasetError(f"no usable pair in {name}: {'; '.join(left_out[:3])}", "check both folders")
    kept, fitting, crops = zip(*pairs, strict=True)
    return ImageSource(name, kept, weight, fitting, crops, tuple(left_out))


def _find_crop(file: Path, partner: Path, scale: int) -> tuple[int, int] | None:
    """Return height and width that fit the partner; None if the whole image does.

    Raises `DatasetError` if no crop fits, `ImageError` if one of the two cannot be read.
    """
    (width, height), (low_width, low_height) = read_info(file).size, read_info(partner).size
    beyond = (height - low_height * scale, width - low_width * scale)
    if not all(0 <= side < scale for side in beyond):
        raise DatasetError(
            f"{partner} is {low_width}x{low_height} and does not fit {file}, which is {width}x{height}",
            f"it has to be {scale} times as large",
        )
    return (low_height * scale, low_width * scale) if any(beyond) else None
