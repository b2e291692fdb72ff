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

# A file of an archive: its path inside, and a function that opens it.
Member = tuple[str, Callable[[], IO[bytes]]]

_AT_ONCE = 8
_CACHE_HINT = "set SR_CACHE to another folder"


@dataclass(frozen=True)
class Collection:
    """The files of a data set repository below `inside` ("" for all), at a commit, branch or tag."""

    repo: str
    revision: str = "main"
    inside: str = ""

    @property
    def place(self) -> Path:
        """The folder in the cache."""
        name = "--".join(part for part in (*self.repo.split("/"), *self.inside.split("/")) if part)
        return get_cache_folder() / "datasets" / f"{name}@{self.revision.replace('/', '--')}"


def parse_collection(text: str) -> Collection:
    """Return the collection written as `OWNER/NAME[@REVISION][/FOLDER]`. Raises `UsageError` for others."""
    words = text.split("/", 2)
    if len(words) < 2 or not all(words):
        raise UsageError(
            f"'{text}' is not a repository",
            "write hub:OWNER/NAME, hub:OWNER/NAME@REVISION/FOLDER or hub:Set5",
        )
    name, _, revision = words[1].partition("@")
    return Collection(f"{words[0]}/{name}", revision or "main", words[2].strip("/") if words[2:] else "")


def fetch_collection(collection: Collection) -> Path:
    """Return the folder of its images, downloaded on first use.

    Image files are kept as they are; tar and zip archives and Parquet tables are unpacked. Raises
    `DatasetError` if there are no images, `HubError` if they cannot be downloaded.
    """
    target = collection.place
    if target.is_dir():
        return target
    files = [file for file in _list_files(collection) if is_image(Path(file.file)) or _find_reader(file.file)]
    if not files:
        where = f"{collection.repo}/{collection.inside}".rstrip("/")
        raise DatasetError(f"no images in {where} on the Hub", "it has no image, archive or Parquet file")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paths = list(pool.map(_fetch_verified, files))
    unpack([(file.file, path) for file, path in zip(files, paths, strict=True)], target)
    return target


def _list_files(collection: Collection) -> list[HubFile]:
    below = f"{collection.inside}/" if collection.inside else ""
    files = hub.list_files(collection.repo, collection.revision)
    return [file for file in files if file.file.startswith(below) or file.file == collection.inside]


def _fetch_verified(file: HubFile) -> Path:
    """Fetch a file and check it against its digest, which the Hub states for large files."""
    path = hub.fetch(file)
    return hub.fetch_verified(file, None) if hub.read_stated_digest(path) else path


def unpack(files: Sequence[tuple[str, Path]], target: Path) -> None:
    """Unpack the images of files (name, path) into a new folder; it appears whole or not at all.

    Raises `DatasetError` for damaged files, for files without images and for errors of the disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            unpacked = Path(temporary) / target.name
            unpacked.mkdir()
            for name, path in files:
                for inside, open_member in _list_members(name, path):
                    _copy(inside, open_member, unpacked)
            if not any(unpacked.iterdir()):
                raise DatasetError(f"{files[0][0]} contains no images", "name another file or folder")
            unpacked.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot unpack into {target}: {reason}", _CACHE_HINT) from error


def _copy(inside: str, open_member: Callable[[], IO[bytes]], folder: Path) -> None:
    """Copy an image to its path in the archive; skip other files, and paths that lead out of `folder`."""
    path = PurePosixPath(inside)
    if not is_image(Path(inside)) or path.is_absolute() or ".." in path.parts:
        return
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_member() as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def _list_members(name: str, path: Path) -> Iterator[Member]:
    reader = _find_reader(name)
    if reader is None:
        yield name, lambda: path.open("rb")
        return
    with _report_damage(name):
        yield from reader(path)


@contextmanager
def _report_damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DatasetError(f"{name} is damaged: {error}", "delete it and try again") from error


def _find_reader(name: str) -> Callable[[Path], Iterator[Member]] | None:
    """Return the reader of an archive or table by its suffix; None for other files."""
    for suffixes, reader in _READERS.items():
        if name.lower().endswith(suffixes):
            return reader
    return None


def _read_tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content:
                yield member.name, partial(_return, content)


def _return(content: IO[bytes]) -> IO[bytes]:
    return content


def _read_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, partial(archive.open, name)


def _read_parquet(path: Path) -> Iterator[Member]:
    """Read the images of columns as the `datasets` library writes them: structures of `bytes` and `path`."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(f"{path.name} is a Parquet table", "`pip install 'sr-cli[parquet]'`") from error
    rows = itertools.chain.from_iterable(b.to_pylist() for b in parquet.ParquetFile(path).iter_batches(16))
    values = (value for row in rows for value in row.values() if isinstance(value, dict))
    for number, value in enumerate(value for value in values if value.get("bytes")):
        suffix = Path(value.get("path") or "").suffix or ".png"
        yield f"{path.stem}-{number:06}{suffix}", partial(io.BytesIO, value["bytes"])


_READERS: dict[tuple[str, ...], Callable[[Path], Iterator[Member]]] = {
    (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"): _read_tar,
    (".zip",): _read_zip,
    (".parquet",): _read_parquet,
}
