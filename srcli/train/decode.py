"""Decoding of all training images, in all sizes, into one file; benchmark images are detected."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from srcli.engine.limits import read_within_limit
from srcli.errors import ImageError
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.imaging.resize import resize_8bit
from srcli.train import cache, leaks
from srcli.train.planes import Layout, Samples, Tick, layout, map_file
from srcli.train.sources import ImageSource
from srcli.train.threads import prefetch_single_threaded

# Increase it when the content of the files changes.
VERSION = 3
# Smaller images are useless for training and cannot be downscaled by every scale.
LEAST = 16

_INDEX = "index.json"
_SAMPLES = "hr.bin"


@dataclass(frozen=True)
class Entry:
    """One stored image: its file, the number of its source and of the file in it, and its size in pixels.

    `stamp` identifies the file's content, see `cache.stamp`.
    """

    name: str
    source: int
    number: int
    factor: float
    height: int
    width: int
    stamp: tuple[str, int, int]


@dataclass(frozen=True)
class Index:
    """The stored images; `left_out`: skipped files and why; `leaks`: files that show benchmark images.

    `version`: that of the parts of the program that made it.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]
    leaks: tuple[str, ...]
    version: str = ""

    def layout(self, step: int = 1) -> Layout:
        """Return the positions of the images, each side divided by `step`."""
        sides = np.array([(e.height, e.width) for e in self.entries], np.int64).reshape(-1, 2) // step
        return layout(sides[:, 0], sides[:, 1])


@dataclass(frozen=True)
class Task:
    """A file to decode, and the sizes to store; `crop`: height and width that remain of it.

    `max_pixels`: the most pixels that it may have; by default, they follow from its size.
    """

    file: Path
    source: int
    number: int
    rescale_factors: tuple[float, ...]
    crop: tuple[int, int] | None = None
    max_pixels: int | None = None

    @property
    def stamp(self) -> tuple[str, int, int]:
        """The stamp of the file, and the crop, which identify the image."""
        path, size, changed = cache.stamp(self.file)
        return (f"{path} {self.crop[0]}x{self.crop[1]}" if self.crop else path), size, changed


def tasks(
    sources: Sequence[ImageSource], rescale_factors: tuple[float, ...], max_pixels: int | None = None
) -> list[Task]:
    """List a task for each file; pairs keep their own size, at which both images are known."""
    return [
        Task(file, place, number, (1.0,) if source.partners else rescale_factors, crop, max_pixels)
        for place, source in enumerate(sources)
        for number, (file, crop) in enumerate(zip_longest(source.files, source.crops))
    ]


def facts(work: Sequence[Task]) -> list[Any]:
    """List everything that decides what is written."""
    return [
        VERSION,
        leaks.version(),
        [(*t.stamp, t.source, t.number, t.rescale_factors) for t in work],
        *{t.max_pixels for t in work if t.max_pixels},
    ]


def samples_path(folder: Path) -> Path:
    """Return the path of the file of all images."""
    return folder / _SAMPLES


def open_index(folder: Path, work: Sequence[Task], tick: Tick) -> Index:
    """Return the index of `folder`, decoding the images unless an earlier run did; reports to `tick`."""
    known = _read_index(folder)
    if known:
        return known
    with cache.lock_folder(folder):
        # Another process may have written it in the meantime.
        return _read_index(folder) or _decode(folder, work, tick)


def read_indexes(stores: Path) -> Iterator[tuple[Path, Index]]:
    """Yield the folders of all stores that this version of the program made, with their indexes."""
    for folder in sorted(path.parent for path in stores.glob(f"*/{_INDEX}")):
        index = _read_index(folder)
        if index is not None and index.version == _version():
            yield folder, index


def _read_index(folder: Path) -> Index | None:
    """Read the index; None if it or its images are missing or damaged."""
    try:
        found: dict[str, Any] = json.loads((folder / _INDEX).read_text("utf-8"))
        entries = tuple(Entry(**{**entry, "stamp": tuple(entry["stamp"])}) for entry in found["entries"])
        index = Index(entries, tuple(found["left_out"]), tuple(found["leaks"]), str(found["version"]))
        return index if index.layout().fits(samples_path(folder)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode(folder: Path, work: Sequence[Task], tick: Tick) -> Index:
    parts: list[Index] = []
    load = partial(_load_file, _find_known(folder.parent))

    def images() -> Iterator[Samples]:
        for part, samples in prefetch_single_threaded(load, work):
            parts.append(part)
            tick("decoding", len(parts), len(work))
            yield from samples

    cache.write(samples_path(folder), images())
    index = _join(parts)
    # The index is written last: its presence means that everything is complete.
    cache.write(folder / _INDEX, [np.frombuffer(json.dumps(asdict(index)).encode(), np.uint8)])
    return index


def _join(parts: Sequence[Index]) -> Index:
    return Index(
        tuple(entry for part in parts for entry in part.entries),
        tuple(reason for part in parts for reason in part.left_out),
        tuple(leak for part in parts for leak in part.leaks),
        _version(),
    )


def _version() -> str:
    return f"{VERSION} {leaks.version()}"


@dataclass(frozen=True)
class Known:
    """A file's images in earlier stores, by factor, and the benchmark image that they show, if any."""

    images: dict[float, Samples]
    leaks: tuple[str, ...]


def _find_known(stores: Path) -> dict[tuple[str, int, int], Known]:
    """Find the images of earlier stores by the stamps of their files; nothing is read yet."""
    found: dict[tuple[str, int, int], Known] = {}
    for folder, index in read_indexes(stores):
        plane = map_file(samples_path(folder), index.layout())
        for number, entry in enumerate(index.entries):
            shown = tuple(leak for leak in index.leaks if leak.startswith(f"{entry.name} ("))
            known = found.setdefault(entry.stamp, Known({}, shown))
            known.images[entry.factor] = plane.image(number)
    return found


def _load_file(earlier: dict[tuple[str, int, int], Known], task: Task) -> tuple[Index, list[Samples]]:
    """Copy a file's images from earlier stores if they have them all, or decode the file."""
    known = earlier.get(task.stamp)
    whole = known.images.get(1.0) if known else None
    if known is None or whole is None:
        return _decode_file(task)
    wanted = [
        factor
        for factor in task.rescale_factors
        if min(round(side * factor) for side in whole.shape[:2]) >= LEAST
    ]
    if not known.images.keys() >= set(wanted):
        return _decode_file(task)
    kept = [(factor, known.images[factor]) for factor in wanted]
    entries = tuple(_make_entry(task, factor, samples) for factor, samples in kept)
    return Index(entries, (), known.leaks), [samples for _, samples in kept]


def _decode_file(task: Task) -> tuple[Index, list[Samples]]:
    """Decode a file: its index, and its image at every size that is not too small."""
    try:
        pixels = read_within_limit(task.file, task.max_pixels).pixels
    except ImageError as error:
        return Index((), (error.message,), ()), []
    if task.crop:
        pixels = pixels[: task.crop[0], : task.crop[1]]
    if min(pixels.shape[:2]) < LEAST:
        return Index((), (f"{task.file} is smaller than {LEAST}x{LEAST}",), ()), []
    sizes = [(factor, to_uint8(_rescale(pixels, factor))) for factor in task.rescale_factors]
    kept = [(factor, samples) for factor, samples in sizes if min(samples.shape[:2]) >= LEAST]
    entries = tuple(_make_entry(task, factor, samples) for factor, samples in kept)
    benchmark = leaks.find_benchmark(to_uint8(pixels))
    found = (f"{task.file} ({benchmark})",) if benchmark else ()
    return Index(entries, (), found), [samples for _, samples in kept]


def _make_entry(task: Task, factor: float, samples: Samples) -> Entry:
    height, width = samples.shape[:2]
    return Entry(str(task.file), task.source, task.number, factor, height, width, task.stamp)


def _rescale(pixels: Pixels, factor: float) -> Pixels:
    if factor == 1:
        return pixels
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    return resize_8bit(pixels, height, width)
