"""A data set repository of the Hugging Face Hub as a folder of image files, fetched and unpacked once."""

import io
import itertools
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from srcli.engine.weights import hub
from srcli.errors import DatasetError, UsageError
from srcli.imaging.codecs.registry import is_image
from srcli.manifest import HubFile
from srcli.storage.files import get_cache_folder

# A file of an archive: its place inside, and what opens it.
Member = tuple[str, Callable[[], IO[bytes]]]

_AT_ONCE = 8
_CACHE_HINT = "set SR_CACHE to another folder"


@dataclass(frozen=True)
class Collection:
    """The files of a data set repository below `inside` ("" for all) at a commit, branch or tag."""

    repo: str
    revision: str = "main"
    inside: str = ""

    @property
    def place(self) -> Path:
        """Its folder in the cache."""
        name = "--".join(part for part in (*self.repo.split("/"), *self.inside.split("/")) if part)
        return get_cache_folder() / "datasets" / f"{name}@{self.revision.replace('/', '--')}"


def parse_collection(text: str) -> Collection:
    """The collection written as `OWNER/NAME`, `OWNER/NAME@REVISION` or either with `/FOLDER` behind it."""
    words = text.split("/", 2)
    if len(words) < 2 or not all(words):
        raise UsageError(
            f"'{text}' is no repository", "write hub:OWNER/NAME, hub:OWNER/NAME@REVISION/FOLDER or hub:Set5"
        )
    name, _, revision = words[1].partition("@")
    return Collection(f"{words[0]}/{name}", revision or "main", words[2].strip("/") if words[2:] else "")


def fetch_collection(collection: Collection) -> Path:
    """The folder of the images; without a request where it is there already.

    Image files are taken as they are, tar and zip archives and Parquet tables for the images in them. Raises
    `DatasetError` where there are none, `HubError` where they can't be had.
    """
    target = collection.place
    if target.is_dir():
        return target
    files = [file for file in _listed(collection) if is_image(Path(file.file)) or _reader(file.file)]
    if not files:
        where = f"{collection.repo}/{collection.inside}".rstrip("/")
        raise DatasetError(f"no images in {where} on the Hub", "it holds no image, archive or Parquet file")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paths = list(pool.map(_sound, files))
    unpack([(file.file, path) for file, path in zip(files, paths, strict=True)], target)
    return target


def _listed(collection: Collection) -> list[HubFile]:
    below = f"{collection.inside}/" if collection.inside else ""
    files = hub.listed(collection.repo, collection.revision)
    return [file for file in files if file.file.startswith(below) or file.file == collection.inside]


def _sound(file: HubFile) -> Path:
    """The file, checked against the digest that the Hub states of large ones."""
    path = hub.fetch(file)
    return hub.verified(file, None) if hub.stated_digest(path) else path


def unpack(files: Sequence[tuple[str, Path]], target: Path) -> None:
    """The images of files, each given by its name and place; `target` appears whole or not at all.

    Raises `DatasetError` for what is damaged or holds no image, and where the disk says no.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            unpacked = Path(temporary) / target.name
            unpacked.mkdir()
            for name, path in files:
                for inside, opened in _members(name, path):
                    _copy(inside, opened, unpacked)
            if not any(unpacked.iterdir()):
                raise DatasetError(f"{files[0][0]} holds no images", "name another file or folder of it")
            unpacked.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot unpack into {target}: {reason}", _CACHE_HINT) from error


def _copy(inside: str, opened: Callable[[], IO[bytes]], folder: Path) -> None:
    """One image, in the folder that it has in its archive; none that would lie elsewhere."""
    place = PurePosixPath(inside)
    if not is_image(Path(inside)) or place.is_absolute() or ".." in place.parts:
        return
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened() as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _members(name: str, path: Path) -> Iterator[Member]:
    reader = _reader(name)
    if reader is None:
        yield name, lambda: path.open("rb")
        return
    with _damage_told(name):
        yield from reader(path)


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DatasetError(f"{name} is damaged: {error}", "delete it and try again") from error


def _reader(name: str) -> Callable[[Path], Iterator[Member]] | None:
    """What reads a file that holds others; None for any other file."""
    endings = {(".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"): _tar, (".zip",): _zip}
    endings[(".parquet",)] = _parquet
    return next((read for ends, read in endings.items() if name.lower().endswith(ends)), None)


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, partial(_as_it_is, content)


def _as_it_is(content: IO[bytes]) -> IO[bytes]:
    return content


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, partial(archive.open, name)


def _parquet(path: Path) -> Iterator[Member]:
    """The images of a column as the `datasets` library writes them: a structure of `bytes` and `path`."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(f"{path.name} is a Parquet table", "`pip install 'sr-cli[parquet]'`") from error
    rows = itertools.chain.from_iterable(b.to_pylist() for b in parquet.ParquetFile(path).iter_batches(16))
    values = (value for row in rows for value in row.values() if isinstance(value, dict))
    for number, value in enumerate(value for value in values if value.get("bytes")):
        suffix = Path(value.get("path") or "").suffix or ".png"
        yield f"{path.stem}-{number:06}{suffix}", partial(io.BytesIO, value["bytes"])
