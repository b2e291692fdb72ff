"""Files from the Hugging Face Hub at a pinned commit: from the cache, else over the network."""

import errno
import os
import re
import time
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from srcli.dataclass import dataclass
from srcli.engine.weights.transfer import (
    DEADLINE,
    TEMPORARY_STATUS,
    Body,
    TransferError,
    read_retry_after,
    store_file,
    wait_for_server,
)
from srcli.errors import SrError
from srcli.manifest import HubFile
from srcli.storage.hashing import sha256

# A client that cannot reach its server retries for 23 s; users at a prompt should know sooner.
_PATIENCE = 2.0
# Seconds that one answer may take.
_ANSWER = 5.0
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_TIMEOUTS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")


class HubError(SrError):
    """A file could not be fetched from the Hub."""


@dataclass(frozen=True)
class HubMetadata:
    """The Hub's record of a file: size in bytes, SHA-256 (large files only), commit, and where it is."""

    size: int | None
    digest: str | None
    commit: str | None
    etag: str | None = None
    url: str = ""


def find_cached(file: HubFile) -> Path | None:
    """Return the file in the local cache, if it is there; the network is not used."""
    if find_spec("huggingface_hub") is None:  # an extra: without it nothing was downloaded
        return None
    check_environment()
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.file, revision=file.revision, repo_type=file.kind)
    return Path(found) if isinstance(found, str) else None


def fetch_metadata(file: HubFile) -> HubMetadata:
    """Request a file's metadata. Raises `HubError` within 10 seconds if the Hub does not answer."""
    _check_reachable()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repo, file.file, revision=file.revision, repo_type=file.kind)
    give_up = time.monotonic() + DEADLINE
    while True:
        try:
            found = get_hf_file_metadata(url, timeout=min(_ANSWER, max(0.5, give_up - time.monotonic())))
            return HubMetadata(
                found.size, _sha256_or_none(found.etag), found.commit_hash, found.etag, found.location
            )
        except _get_client_errors() as error:
            if not _is_temporary(error) or not wait_for_server(error, give_up):
                failure = _explain(error, file)
                failure.affects_all = _is_temporary(error)  # other files would cost as long
                raise failure from error


def _get_client_errors() -> tuple[type[Exception], ...]:
    """Return what the client raises; `InvalidURL` and a missing package for SOCKS are errors of the user."""
    import httpx2

    return (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ImportError)


def _sha256_or_none(etag: str | None) -> str | None:
    return etag if re.fullmatch("[0-9a-f]{64}", etag or "") else None


def _is_temporary(error: Exception) -> bool:
    """Return whether the same request may succeed in a moment."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TEMPORARY_STATUS
    return isinstance(error, httpx2.TransportError)


def fetch(file: HubFile, again: bool = False) -> Path:
    """Return the file, downloaded with a progress bar if it is not cached; `again` replaces a bad copy.

    Raises `HubError` within 10 seconds if the Hub cannot be reached.
    """
    found = None if again else find_cached(file)
    if found:
        return found
    stated = fetch_metadata(file)
    _check_answer(stated, file)
    try:
        return _store(stated, file, again=again)
    except TransferError as error:
        raise HubError(error.message, error.hint) from error
    except _get_client_errors() as error:
        raise _explain(error, file) from error


def _check_answer(stated: HubMetadata, file: HubFile) -> None:
    """Raise `HubError` unless the answer is that of a Hub: a page of a proxy has no commit and no tag."""
    from huggingface_hub import constants

    if stated.commit and stated.etag and stated.size is not None:
        return
    missing = "commit" if not stated.commit else "size" if stated.etag else "tag"
    is_elsewhere = bool(stated.url) and urlsplit(stated.url).netloc != urlsplit(constants.ENDPOINT).netloc
    raise HubError(
        f"{constants.ENDPOINT} {f'redirects to {stated.url[:100]}' if is_elsewhere else 'answers'} "
        f"without the {missing} of {file.file}: it is no Hub, or a proxy or a login page answers",
        "check the connection, the proxy and HF_ENDPOINT",
    )


def _store(stated: HubMetadata, file: HubFile, *, again: bool) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    assert stated.etag
    assert stated.size is not None
    headers = build_hf_headers()
    if urlsplit(stated.url).netloc != urlsplit(constants.ENDPOINT).netloc:
        headers.pop("authorization", None)  # the token is for the Hub alone
    body = Body(file.file, stated.url, headers, stated.size, stated.etag)
    folder = repo_folder_name(repo_id=file.repo, repo_type=file.kind)
    return store_file(get_hub_cache(), folder, file.revision, file.file, body, again=again)


def _explain(error: Exception, file: HubFile) -> HubError:
    """Return the error that explains a failure of the client, and what to do."""
    from huggingface_hub import constants, errors

    page, folder = f"{constants.ENDPOINT}/{file.repo}", get_hub_cache()
    explanations: list[tuple[type[Exception], str, str]] = [
        (errors.GatedRepoError, f"{file.repo} is gated", f"accept its terms at {page}, then set HF_TOKEN"),
        (errors.RevisionNotFoundError, f"{file.repo} has no revision {file.revision}", "update sr"),
        (errors.EntryNotFoundError, f"{file.repo} has no file {file.file} at {file.revision}", "update sr"),
        (
            errors.RepositoryNotFoundError,
            f"there is no repository {file.repo} on {constants.ENDPOINT}",
            "if it is private, set HF_TOKEN",
        ),
    ]
    for kind, message, hint in explanations:
        if isinstance(error, kind):
            return HubError(message, hint)
    if isinstance(error, errors.HfHubHTTPError):
        code, asked = error.response.status_code, read_retry_after(error)
        when = f"try again in {asked:,.0f} s, as it asks" if asked else "try again later"
        return HubError(f"{constants.ENDPOINT} answers {code} for {file.repo}/{file.file}", when)
    if isinstance(error, ImportError):
        return HubError(f"the proxy needs another package: {error}", "pip install 'httpx2[socks]'")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(
            f"no room for {file.file} in {folder}", "free some disk space, or set HF_HOME to another folder"
        )
    if isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
        return HubError(f"cannot write into {folder}: {error.strerror}", "set HF_HOME to another folder")
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return HubError(f"download of {file.repo}/{file.file} failed: {first_line}", "try again later")


def check_environment() -> None:
    """Raise `HubError` for variables that the client would fail at with a traceback when it is imported."""
    for name in _TIMEOUTS:
        text = os.environ.get(name)
        if text and not (text.isdecimal() and 0 < int(text[:9]) < 10**6):
            raise HubError(f"{name}={text[:50]} is not a number of seconds", "for example 10, or unset it")
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and not _is_address(endpoint, ("http", "https")):
        raise HubError(
            f"HF_ENDPOINT={endpoint[:100]} is not an address", "for example https://huggingface.co"
        )


def _check_proxies() -> None:
    import urllib.request  # late: it brings ssl

    for scheme, proxy in urllib.request.getproxies().items():
        if scheme in ("http", "https", "all") and proxy:
            url = proxy if "//" in proxy else f"http://{proxy}"
            if not _is_address(url, _PROXY_SCHEMES):
                raise HubError(
                    f"{scheme}_proxy={proxy[:100]} is not an address",
                    "for example http://proxy:3128, or unset it",
                )


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    """Return whether a text is an address with a host, one of the schemes, and a port that exists, if any."""
    try:
        url = urlsplit(text)
        return url.scheme in schemes and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def get_hub_cache() -> Path:
    """Return the Hub client's cache folder, which HF_HUB_CACHE or HF_HOME set."""
    check_environment()
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _check_reachable() -> None:
    check_environment()
    _check_proxies()
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set", "unset it to download")
    if not is_reachable(constants.ENDPOINT):
        failure = HubError(f"no network: {constants.ENDPOINT} does not answer", "check the connection")
        failure.affects_all = True
        raise failure


def is_reachable(endpoint: str, patience: float = _PATIENCE) -> bool:
    """Return whether a connection to the server, or to its proxy, opens within `patience` seconds."""
    import socket
    import urllib.request  # late: it brings ssl

    url = urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = url.port or (80 if url.scheme == "http" else 443)
    opened: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((url.hostname or "", port), timeout=patience).close()
            opened.append(True)
        except OSError:
            pass

    # On a thread: a name server that does not answer blocks for longer than the socket's timeout.
    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(opened)


def list_files(repo: str, revision: str) -> list[HubFile]:
    """Return every file of a dataset, at the commit that `revision` names now. Raises `HubError`."""
    _check_reachable()
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(repo, revision=revision)
        names = [file.rfilename for file in found.siblings or ()]
        return [HubFile(repo, found.sha or revision, name, "dataset") for name in names]
    except _get_client_errors() as error:
        raise _explain(error, HubFile(repo, revision, "", "dataset")) from error


def read_stated_digest(path: Path) -> str | None:
    """Return the SHA-256 that the Hub stated for a cached file: the cache names large files by it."""
    return _sha256_or_none(path.resolve().name)


def describe_damage(path: Path, digest: str | None) -> str:
    """Return what is wrong with a file's SHA-256; empty if it is as it should be.

    If `digest` is None, the one that the Hub stated counts.
    """
    wanted = digest or read_stated_digest(path)
    if wanted is None:
        return "the Hub gives no SHA-256 for it"
    found = sha256(path)
    return "" if found == wanted else f"its SHA-256 is {found}, not {wanted}"


def fetch_verified(file: HubFile, digest: str | None) -> Path:
    """Return the file with its SHA-256 checked; a damaged copy is replaced once.

    Raises `HubError` if the new copy is wrong too; it is not kept.
    """
    path = fetch(file)
    if not describe_damage(path, digest):
        return path
    try:
        path = fetch(file, again=True)
    except HubError as error:
        message = f"the copy of {file.repo}/{file.file} in the cache is damaged, and no other can be had"
        raise HubError(f"{message}: {error.message}", error.hint) from error
    problem = describe_damage(path, digest)
    if problem:
        remove_cached(path)
        raise HubError(
            f"{file.repo}/{file.file} failed verification: {problem}", "it was not used; update sr"
        )
    return path


def remove_cached(path: Path) -> None:
    """Delete a cached file, and its content unless another cached revision shares it."""
    content = path.resolve()
    path.unlink()
    if content == path or not content.exists():
        return
    snapshots = content.parent.parent / "snapshots"  # beside the folder of contents
    if not any(other.resolve() == content for other in snapshots.rglob("*") if other.is_symlink()):
        content.unlink()


def publish(repo: str, files: dict[str, Path | bytes], message: str, private: bool) -> str:
    """Upload files to a model repository, created if needed, in one commit; return the commit's address.

    Raises `HubError` if the Hub refuses, as it does without a token.
    """
    _check_reachable()
    from huggingface_hub import CommitOperationAdd, HfApi

    adds = [CommitOperationAdd(name, content) for name, content in files.items()]
    try:
        HfApi().create_repo(repo, private=private, exist_ok=True)
        return str(HfApi().create_commit(repo, adds, commit_message=message).commit_url)
    except _get_client_errors() as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "set HF_TOKEN to a token with write access"
        raise HubError(f"cannot publish to {repo}: {reason}", hint) from error
