"""Locations of files: paths, or URLs of stores that fsspec supports, such as `s3://bucket/scans/a.png`.

Remote files are downloaded to temporary files, and outputs are uploaded whole or not at all. fsspec and the
clients of stores are imported only when there is a URL.
"""

import dataclasses
import errno
import glob
import importlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from srcli.dataclass import dataclass
from srcli.errors import FileError, SrError, UsageError

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL | re.IGNORECASE)
# Error numbers that mean the store is unreachable, not that there is something wrong with one file.
_UNREACHABLE = (errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))


@dataclasses.dataclass(frozen=True, order=True)
class RemotePath:
    """A file or folder in a store; `path` is everything after `://`, such as `bucket/scans/a.png`.

    Has the part of the interface of `pathlib.Path` that is needed here.
    """

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
        """The last component."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The last component without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The suffix with its dot, or an empty string."""
        return self._pure.suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder that contains it."""
        return RemotePath(self.protocol, str(self._pure.parent))

    def with_name(self, name: str) -> "RemotePath":
        """Return a path with another last component."""
        return RemotePath(self.protocol, str(self._pure.with_name(name)))

    def relative_to(self, top: "RemotePath") -> PurePosixPath:
        """Return the relative path from the folder `top`."""
        return self._pure.relative_to(top.path)


Location = Path | RemotePath


@dataclass(frozen=True)
class Backend:
    """The needs of a protocol.

    `credentials` is a hint on where they come from, `extra` the optional dependency, `client_errors` the
    module and class of what its client raises besides `OSError`. `is_atomic`: uploads appear whole or not at
    all. `bucket_depth`: how many leading components have to exist before anything can be uploaded.
    """

    credentials: str = "check the permissions of the store"
    extra: str = ""
    client_errors: tuple[tuple[str, str], ...] = ()
    is_atomic: bool = True
    bucket_depth: int = 0


_HTTP = ("aiohttp", "ClientError")
_GS = Backend(
    "GOOGLE_APPLICATION_CREDENTIALS names a key, or run `gcloud auth application-default login`",
    "remote",
    (("google.auth.exceptions", "GoogleAuthError"), ("gcsfs.retry", "HttpError"), _HTTP),
    bucket_depth=1,
)
BACKENDS = {
    "s3": Backend(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`; AWS_ENDPOINT_URL for other servers",
        "remote",
        (("botocore.exceptions", "BotoCoreError"), _HTTP),
        bucket_depth=1,
    ),
    "gs": _GS,
    "gcs": _GS,
    "hf": Backend(
        "HF_TOKEN, or `hf auth login`",
        "hub",
        (
            ("huggingface_hub.errors", "HfHubHTTPError"),
            ("huggingface_hub.errors", "HFValidationError"),
            ("httpx2", "HTTPError"),
            ("builtins", "NotImplementedError"),  # for paths above the repositories
        ),
    ),
    "memory": Backend(is_atomic=False),
}


def parse_location(text: str) -> Location:
    """Return the location a user gave: a path, also as `file://`, or the URL of a store.

    Raises `UsageError` for an unknown protocol or an empty URL.

    >>> str(parse_location("s3://bucket/a//b.png")), str(parse_location("a//b.png")), str(parse_location("file:///a/b.png"))
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
        raise UsageError(f"{text}: unknown protocol {protocol}://", f"supported: {known}")
    if not path.strip("/"):
        raise UsageError(f"{text} has no path", f"write {protocol}://bucket/folder")
    return RemotePath(protocol, path.strip("/"))


def canonicalize(where: Location) -> str:
    """Return a string that is the same for all names of one file."""
    return str(where) if isinstance(where, RemotePath) else os.path.realpath(where)


def canonicalize_all(locations: Iterable[Location | str]) -> set[str]:
    """Return what `canonicalize` returns for each; quick for many files in few folders."""
    folders: dict[str, str] = {}
    resolved = set()
    for where in locations:
        if isinstance(where, RemotePath):
            resolved.add(str(where))
            continue
        folder, name = os.path.split(where)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)
        resolved.add(os.path.realpath(path) if name == ".." or os.path.islink(path) else path)
    return resolved


def make_absolute(where: Location) -> Location:
    """Return a location that does not depend on the working folder."""
    return where if isinstance(where, RemotePath) else Path(os.path.abspath(where))


def exists(where: Location) -> bool:
    """Return whether a file or folder exists. Raises `SrError` if a store cannot be reached."""
    return os.path.lexists(where) if isinstance(where, Path) else find_kind(where) is not None


def find_kind(where: RemotePath) -> str | None:
    """Return `file`, `directory`, or None if it does not exist. Raises `SrError` if it cannot be reached."""
    info = _get_info(where)
    return None if info is None else str(info["type"])


def get_identity(where: Location) -> str:
    """Return a string that changes with the file, without reading it: an ETag, or size and time.

    It is empty if the file does not exist.
    """
    if isinstance(where, RemotePath):
        info = _get_info(where)
        return _build_identity(info) if info else ""
    try:
        state = where.stat()
    except OSError:
        return ""
    return f"{state.st_size}:{state.st_mtime_ns}"


def _get_info(where: RemotePath) -> dict[str, Any] | None:
    with _translate_errors(where):
        system = _open_filesystem(where)
        system.invalidate_cache(where.path)
        try:
            return dict(system.info(where.path))
        except FileNotFoundError:
            return None


def _build_identity(info: dict[str, Any]) -> str:
    for name in ("ETag", "etag", "blob_id", "md5Hash"):
        if info.get(name):
            return str(info[name]).strip('"')
    when = next((info[name] for name in ("LastModified", "mtime", "created") if info.get(name)), "")
    return f"{info.get('size')}:{when}"


@dataclasses.dataclass(frozen=True, order=True)
class ListedFile:
    """A file in a listing, and a string that changes with its content."""

    location: RemotePath
    identity: str


def is_many(where: Location) -> bool:
    """Return whether it is a folder or a pattern in a store. Raises `SrError` if it cannot be reached."""
    if isinstance(where, Path):
        return False
    kind = find_kind(where)
    return kind == "directory" or (kind is None and glob.has_magic(where.path))


def list_files(
    where: RemotePath, recursive: bool = False, without: Location | None = None
) -> Iterator[ListedFile]:
    """Yield the files of a folder or a pattern, see `walk_files` and `match_files`."""
    if find_kind(where) is None and glob.has_magic(where.path):
        return match_files(where, without)
    return walk_files(where, recursive, without)


def strip_pattern(where: RemotePath) -> RemotePath:
    """Return the folder above the first wildcard; a location without wildcards is returned as it is."""
    parts = where.path.split("/")
    plain = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return RemotePath(where.protocol, "/".join(parts[:plain]))


def walk_files(top: RemotePath, recursive: bool, without: Location | None = None) -> Iterator[ListedFile]:
    """Yield the files in a folder, and below it if `recursive`, as they are listed; skip folder `without`.

    Holds one page of names at a time, or one folder for stores without pages. Raises `SrError`.
    """
    folders = [top.path]
    while folders:
        folder = folders.pop()
        if RemotePath(top.protocol, folder) == without:
            continue
        for entry in _list_folder(RemotePath(top.protocol, folder)):
            name = str(entry["name"]).strip("/")
            if entry["type"] != "directory":
                yield ListedFile(RemotePath(top.protocol, name), _build_identity(entry))
            elif recursive and name != folder and not PurePosixPath(name).name.startswith("."):
                folders.append(name)


def match_files(pattern: RemotePath, without: Location | None = None) -> Iterator[ListedFile]:
    """Yield the files that match a pattern: `*` within a component, `**` across folders."""
    from fsspec.utils import glob_translate

    top = strip_pattern(pattern)
    if not top.path:
        raise UsageError(f"{pattern}: the bucket is a pattern", "write out the bucket's name")
    fits = re.compile(glob_translate(pattern.path))
    rest = pattern.path[len(top.path) + 1 :]
    deep = "/" in rest or "**" in rest
    return (listed for listed in walk_files(top, deep, without) if fits.match(listed.location.path))


def _list_folder(folder: RemotePath) -> Iterator[dict[str, Any]]:
    """Yield the entries of a folder: name, type, size and so on."""
    with _translate_errors(folder):
        system = _open_filesystem(folder)
        if folder.protocol == "s3":
            yield from _list_s3_pages(system, folder)
        else:
            yield from system.ls(folder.path, detail=True)


def _list_s3_pages(system: Any, folder: RemotePath) -> Iterator[dict[str, Any]]:
    """Yield entries 1000 names at a time; s3fs itself would collect all of them first."""
    bucket, _, inner = folder.path.partition("/")
    asked = {"Bucket": bucket, "Prefix": f"{inner}/" if inner else "", "Delimiter": "/"}
    while True:
        page = system.call_s3("list_objects_v2", **asked)
        for below in page.get("CommonPrefixes", []):
            yield {"name": f"{bucket}/{below['Prefix']}", "type": "directory"}
        for file in page.get("Contents", []):
            if file["Key"] != asked["Prefix"]:  # a marker that consoles create for an empty folder
                yield {"name": f"{bucket}/{file['Key']}", "type": "file", **file}
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def check_bucket(where: Location) -> None:
    """Raise `SrError` if nothing could be uploaded, for lack of a bucket, a package or a network."""
    if not isinstance(where, RemotePath):
        return
    depth = BACKENDS[where.protocol].bucket_depth
    with _translate_errors(where):
        _open_filesystem(where)  # fails if its package is missing
    if depth:
        bucket = RemotePath(where.protocol, "/".join(where.path.split("/")[:depth]))
        if find_kind(bucket) is None:
            raise FileError(f"{bucket} does not exist", "create the bucket first, or check its name")


@contextmanager
def open_local_copy(where: Location) -> Iterator[Path]:
    """Yield a local file with the same content: itself, or a temporary copy, which errors do not mention.

    Raises `SrError` if it cannot be downloaded.
    """
    if isinstance(where, Path):
        yield where
        return
    with _make_temporary(where, "in") as copy:
        download(where, copy)
        yield copy


def download(where: RemotePath, copy: Path) -> None:
    """Download a file. Raises `SrError` if that fails."""
    with _translate_errors(where):
        _open_filesystem(where).get_file(where.path, str(copy))
    if not copy.is_file():
        raise FileError(f"{where} is a folder", "name an image file")


@contextmanager
def open_for_upload(where: Location) -> Iterator[Path]:
    """Yield the path to write to: itself, or a temporary file that is uploaded if nothing raises.

    Raises `SrError` if the upload fails.
    """
    if isinstance(where, Path):
        yield where
        return
    with _make_temporary(where, "out") as file:
        yield file
        upload(file, where)


def upload(file: Path, where: RemotePath) -> None:
    """Upload a file, which appears whole or not at all. Raises `SrError` if that fails."""
    with _translate_errors(where):
        system = _open_filesystem(where)
        if BACKENDS[where.protocol].is_atomic:
            system.put_file(str(file), where.path)
            return
        temporary = where.with_name(f".sr-{os.urandom(6).hex()}{where.suffix}")
        try:
            system.put_file(str(file), temporary.path)
            system.mv(temporary.path, where.path)
        finally:
            if system.exists(temporary.path):
                system.rm_file(temporary.path)


@contextmanager
def _make_temporary(where: RemotePath, stem: str) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; errors name the location instead."""
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        path = Path(folder, f"{stem}{where.suffix}")
        try:
            yield path
        except SrError as error:
            error.message = error.message.replace(str(path), str(where))
            raise


def _open_filesystem(where: RemotePath) -> Any:
    """Return the fsspec file system of a location. Raises `ImportError` if a package is missing."""
    import fsspec

    return fsspec.filesystem(where.protocol, use_listings_cache=False)


@contextmanager
def _translate_errors(where: RemotePath) -> Iterator[None]:
    """Turn what a store's client raises into `FileError`."""
    backend = BACKENDS[where.protocol]
    try:
        yield
    except ImportError as error:
        hint = f"pip install 'sr-cli[{backend.extra}]'" if backend.extra else "pip install -U sr-cli"
        missing = f"{where.protocol}:// needs a package that is not installed ({error.name or error})"
        raise FileError(missing, hint, affects_all=True) from error
    except FileNotFoundError as error:
        raise FileError(f"{where} does not exist", "check the bucket and the name") from error
    except PermissionError as error:
        raise FileError(f"{where}: access denied ({_first_line(error)})", backend.credentials) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            message = f"no space left for a copy of {where}"
            raise FileError(message, "free some disk space", affects_all=True) from error
        unreachable = isinstance(error, ConnectionError | TimeoutError) or error.errno in _UNREACHABLE
        hint = "check the network and try again"
        raise FileError(f"{where}: {_first_line(error)}", hint, unreachable) from error
    except Exception as error:
        if not isinstance(error, _import_client_errors(backend)):
            raise
        message = f"{where}: {_first_line(error)}"
        raise FileError(message, backend.credentials, affects_all=True) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _import_client_errors(backend: Backend) -> tuple[type[Exception], ...]:
    """Return the classes of `client_errors` whose modules are installed."""
    classes = []
    for module, name in backend.client_errors:
        try:
            classes.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(classes)
