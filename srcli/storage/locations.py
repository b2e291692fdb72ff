"""Where files are: here, or in a store that fsspec knows, as `s3://bucket/scans/a.png`.

What is elsewhere is fetched into a temporary file, and what is made is put there whole or not at all.
fsspec and what speaks to a store are imported when there is a URL, not before.
"""

import errno
import glob
import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from srcli.errors import FileError, SrError, UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL | re.IGNORECASE)
# What says of a store that it can't be reached now, not that one file is in the way.
_AWAY = (errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))


@dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder in a store; `path` is all behind `://`, as in `bucket/scans/a.png`."""

    protocol: str
    path: str

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"

    def __truediv__(self, below: str | PurePath) -> "RemotePath":
        return RemotePath(self.protocol, str(self._pure / below))

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.path)

    @property
    def name(self) -> str:
        """As of a `Path`."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """As of a `Path`."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """As of a `Path`."""
        return self._pure.suffix

    @property
    def parent(self) -> "RemotePath":
        """As of a `Path`."""
        return RemotePath(self.protocol, str(self._pure.parent))

    def with_name(self, name: str) -> "RemotePath":
        """As of a `Path`."""
        return RemotePath(self.protocol, str(self._pure.with_name(name)))

    def relative_to(self, top: "RemotePath") -> PurePosixPath:
        """The way from the folder `top` to it."""
        return self._pure.relative_to(top.path)


Location = Path | RemotePath


@dataclass(frozen=True)
class Backend:
    """What is particular about a protocol.

    `extra` is what has to be installed for it, `access` where its credentials come from, `faults` what its
    client raises besides `OSError`, by module. `whole`: what is put appears whole or not at all. `root`: how
    many names the part has that has to be there before anything can be put.
    """

    access: str = "check who may read and write there"
    extra: str = ""
    faults: tuple[tuple[str, str], ...] = ()
    whole: bool = True
    root: int = 0


_HTTP = ("aiohttp", "ClientError")
_GS = Backend(
    "GOOGLE_APPLICATION_CREDENTIALS names a key, or run `gcloud auth application-default login`",
    "remote",
    (("google.auth.exceptions", "GoogleAuthError"), ("gcsfs.retry", "HttpError"), _HTTP),
    root=1,
)
BACKENDS = {
    "s3": Backend(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`; AWS_ENDPOINT_URL for other servers",
        "remote",
        (("botocore.exceptions", "BotoCoreError"), _HTTP),
        root=1,
    ),
    "gs": _GS,
    "gcs": _GS,
    "hf": Backend(
        "HF_TOKEN, or `hf auth login`",
        "",
        (
            ("huggingface_hub.errors", "HfHubHTTPError"),
            ("huggingface_hub.errors", "HFValidationError"),
            ("httpx2", "HTTPError"),
            ("builtins", "NotImplementedError"),  # for what is above the repositories
        ),
    ),
    "memory": Backend(whole=False),
}


def parse_location(text: str) -> Location:
    """What a user names: a path, or a URL of a store. `file://` is a path too.

    Raises `UsageError` for a protocol that is not known, and a URL that names nothing.

    >>> str(place("s3://bucket/a//b.png")), str(place("a//b.png")), str(place("file:///a/b.png"))
    ('s3://bucket/a//b.png', 'a/b.png', '/a/b.png')
    """
    found = _URL.fullmatch(text)
    if not found:
        return Path(text)
    protocol, path = found[1].lower(), found[2]
    if protocol == "file":
        return Path(path)
    if protocol not in BACKENDS:
        known = " ".join(f"{name}://" for name in ["file", *BACKENDS])
        raise UsageError(f"{text}: {protocol}:// is not known", f"known: {known}")
    if not path.strip("/"):
        raise UsageError(f"{text} names nothing", f"as in {protocol}://bucket/folder")
    return RemotePath(protocol, path.strip("/"))


def canonicalize(where: Location) -> str:
    """The same for the same file, by whichever way it is named."""
    return str(where) if isinstance(where, RemotePath) else os.path.realpath(where)


def make_absolute(where: Location) -> Location:
    """What means the same from any working folder."""
    return where if isinstance(where, RemotePath) else Path(os.path.abspath(where))


def exists(where: Location) -> bool:
    """Whether there is something. Raises `SrError` where a store can't be asked."""
    return os.path.lexists(where) if isinstance(where, Path) else find_kind(where) is not None


def find_kind(where: RemotePath) -> str | None:
    """`file`, `directory`, or None for nothing. Raises `SrError` where the store can't be asked."""
    about = _about(where)
    return None if about is None else str(about["type"])


def get_identity(where: Location) -> str:
    """What changes when a file does, as far as can be told without reading it; "" for what is not there."""
    if isinstance(where, RemotePath):
        about = _about(where)
        return _identity(about) if about else ""
    try:
        state = where.stat()
    except OSError:
        return ""
    return f"{state.st_size}:{state.st_mtime_ns}"


def _about(where: RemotePath) -> dict[str, Any] | None:
    with _told(where):
        system = _system(where)
        system.invalidate_cache(where.path)
        try:
            return dict(system.info(where.path))
        except FileNotFoundError:
            return None


def _identity(about: dict[str, Any]) -> str:
    """By what the store says of a content or, failing that, by its size and time."""
    for name in ("ETag", "etag", "blob_id", "md5Hash"):
        if about.get(name):
            return str(about[name]).strip('"')
    when = next((about[name] for name in ("LastModified", "mtime", "created") if about.get(name)), "")
    return f"{about.get('size')}:{when}"


@dataclass(frozen=True, order=True)
class ListedFile:
    """A file that a listing names."""

    location: RemotePath
    identity: str


def is_many(where: Location) -> bool:
    """Whether it is a folder or a pattern in a store. Raises `SrError` where that can't be asked."""
    if isinstance(where, Path):
        return False
    found = find_kind(where)
    return found == "directory" or (found is None and glob.has_magic(where.path))


def list_files(
    where: RemotePath, recursive: bool = False, without: Location | None = None
) -> Iterator[ListedFile]:
    """The files of a folder or a pattern, as `walk` and `matching` find them."""
    if find_kind(where) is None and glob.has_magic(where.path):
        return match_files(where, without)
    return walk_files(where, recursive, without)


def strip_pattern(where: RemotePath) -> RemotePath:
    """The folder that a pattern looks in; what is none is one itself."""
    parts = where.path.split("/")
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return RemotePath(where.protocol, "/".join(parts[:plain]))


def walk_files(top: RemotePath, recursive: bool, without: Location | None = None) -> Iterator[ListedFile]:
    """The files in a folder and, if wanted, in those below it, as they are listed; `without` is left out.

    A page of names is held at a time, or with stores that have no pages a folder. Raises `SrError`.
    """
    left = [top.path]
    while left:
        folder = left.pop()
        if RemotePath(top.protocol, folder) == without:
            continue
        for entry in _entries(RemotePath(top.protocol, folder)):
            name = str(entry["name"]).strip("/")
            if entry["type"] != "directory":
                yield ListedFile(RemotePath(top.protocol, name), _identity(entry))
            elif recursive and name != folder and not PurePosixPath(name).name.startswith("."):
                left.append(name)


def match_files(pattern: RemotePath, without: Location | None = None) -> Iterator[ListedFile]:
    """The files that a pattern fits, `*` within a name and `**` through folders, as they are listed."""
    from fsspec.utils import glob_translate

    top = strip_pattern(pattern)
    if not top.path:
        raise UsageError(f"{pattern}: a pattern needs a bucket to look in", "name the bucket in full")
    fits = re.compile(glob_translate(pattern.path))
    rest = pattern.path[len(top.path) + 1 :]
    deep = "/" in rest or "**" in rest
    return (listed for listed in walk_files(top, deep, without) if fits.match(listed.location.path))


def _entries(folder: RemotePath) -> Iterator[dict[str, Any]]:
    """What is directly in a folder: name, type, size and so on."""
    with _told(folder):
        system = _system(folder)
        if folder.protocol == "s3":
            yield from _pages_of_s3(system, folder)
        else:
            yield from system.ls(folder.path, detail=True)


def _pages_of_s3(system: Any, folder: RemotePath) -> Iterator[dict[str, Any]]:
    """By 1000 names: s3fs itself would collect them all."""
    bucket, _, inner = folder.path.partition("/")
    asked = {"Bucket": bucket, "Prefix": f"{inner}/" if inner else "", "Delimiter": "/"}
    while True:
        page = system.call_s3("list_objects_v2", **asked)
        for below in page.get("CommonPrefixes", []):
            yield {"name": f"{bucket}/{below['Prefix']}", "type": "directory"}
        for file in page.get("Contents", []):
            if file["Key"] != asked["Prefix"]:  # a folder that was made by a console
                yield {"name": f"{bucket}/{file['Key']}", "type": "file", **file}
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def check_bucket(where: Location) -> None:
    """Raise `SrError` where nothing could be put, for want of a bucket, a package or a network."""
    if not isinstance(where, RemotePath):
        return
    root = BACKENDS[where.protocol].root
    with _told(where):
        _system(where)  # which wants its package
    if root:
        bucket = RemotePath(where.protocol, "/".join(where.path.split("/")[:root]))
        if find_kind(bucket) is None:
            raise FileError(f"{bucket} does not exist", "make the bucket first, or check its name")


@contextmanager
def open_local_copy(where: Location) -> Iterator[Path]:
    """A file with what is there: itself, or a copy that is gone afterwards, which errors don't name.

    Raises `SrError` where it can't be had.
    """
    if isinstance(where, Path):
        yield where
        return
    with _beside(where, "in") as copy:
        download(where, copy)
        yield copy


def download(where: RemotePath, copy: Path) -> None:
    """Write what is there into a file. Raises `SrError` where it can't be had."""
    with _told(where):
        _system(where).get_file(where.path, str(copy))
    if not copy.is_file():
        raise FileError(f"{where} is a folder", "name an image file")


@contextmanager
def open_for_upload(where: Location) -> Iterator[Path]:
    """Where to write what is to be there: itself, or a file that is put there if all goes well.

    Raises `SrError` where the store does not take it.
    """
    if isinstance(where, Path):
        yield where
        return
    with _beside(where, "out") as made:
        yield made
        upload(made, where)


def upload(made: Path, where: RemotePath) -> None:
    """Put a file into a store, where it appears whole or not at all. Raises `SrError` for what goes wrong."""
    with _told(where):
        system = _system(where)
        if BACKENDS[where.protocol].whole:
            system.put_file(str(made), where.path)
            return
        under = where.with_name(f".sr-{os.urandom(6).hex()}{where.suffix}")
        try:
            system.put_file(str(made), under.path)
            system.mv(under.path, where.path)
        finally:
            if system.exists(under.path):
                system.rm_file(under.path)


@contextmanager
def _beside(where: RemotePath, stem: str) -> Iterator[Path]:
    """A temporary name with the same suffix; what is said of it is said of the place."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        path = Path(folder, f"{stem}{where.suffix}")
        try:
            yield path
        except SrError as error:
            error.message = error.message.replace(str(path), str(where))
            raise


def _system(where: RemotePath) -> Any:
    """Fsspec's file system for it. Raises `ImportError` where a package is missing."""
    import fsspec

    return fsspec.filesystem(where.protocol, use_listings_cache=False)


@contextmanager
def _told(where: RemotePath) -> Iterator[None]:
    """What goes wrong in a store, as one line and a hint."""
    store = BACKENDS[where.protocol]
    try:
        yield
    except ImportError as error:
        hint = f"pip install 'sr-cli[{store.extra}]'" if store.extra else "pip install -U sr-cli"
        missing = f"{where.protocol}:// needs a package that is not here ({error.name or error})"
        raise FileError(missing, hint, affects_all=True) from error
    except FileNotFoundError as error:
        raise FileError(f"{where} does not exist", "check the bucket and the name") from error
    except PermissionError as error:
        raise FileError(f"{where}: access denied ({_line(error)})", store.access) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FileError(f"no room for a copy of {where}", "free the disk", affects_all=True) from error
        away = isinstance(error, ConnectionError | TimeoutError) or error.errno in _AWAY
        raise FileError(f"{where}: {_line(error)}", "check the network, and try again", away) from error
    except Exception as error:
        if not isinstance(error, _faults(store)):
            raise
        raise FileError(f"{where}: {_line(error)}", store.access, affects_all=True) from error


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _faults(store: Backend) -> tuple[type[Exception], ...]:
    """The classes that the store's client raises, of what is installed."""
    found = []
    for module, name in store.faults:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)
