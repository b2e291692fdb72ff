"""Files from the Hugging Face Hub at a pinned commit: the cache first, then the network."""

import hashlib
import os
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from threading import Thread

from srcli.errors import SrError

# A client that can't reach its server retries for 23 s; whoever sits at the prompt should know sooner.
_PATIENCE = 2.0


class HubError(SrError):
    """A file cannot be had from the Hub."""


def cached(repo: str, revision: str, file: str, kind: str = "model") -> Path | None:
    """The file in the local cache, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision, repo_type=kind)
    return Path(found) if isinstance(found, str) else None


def fetch(repo: str, revision: str, file: str, kind: str = "model", again: bool = False) -> Path:
    """The file, downloaded with a progress bar if it is not cached (or `again`, replacing a bad copy).

    Raises `HubError` within seconds where the Hub can't be reached.
    """
    found = None if again else cached(repo, revision, file, kind)
    if found:
        return found
    _check_reachable()
    import httpx2
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, file, revision=revision, repo_type=kind, force_download=again))
    except (httpx2.HTTPError, OSError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise HubError(f"download of {repo}/{file} failed: {first_line}", "try again later") from error


def _check_reachable() -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set", "unset it to download")
    if not reachable(constants.ENDPOINT):
        raise HubError(f"no network: {constants.ENDPOINT} does not answer", "check the connection")


def reachable(endpoint: str, patience: float = _PATIENCE) -> bool:
    """Whether a connection to the server (or to the proxy that leads to it) opens in `patience` seconds."""
    url = urllib.parse.urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = url.port or (80 if url.scheme == "http" else 443)
    opened: list[bool] = []

    def attempt() -> None:
        try:
            socket.create_connection((url.hostname or "", port), timeout=patience).close()
            opened.append(True)
        except OSError:
            pass

    # On a thread: a name server that does not answer blocks for longer than the socket's time-out.
    thread = Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(patience)
    return bool(opened)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(repo: str, revision: str, file: str, digest: str, kind: str = "model") -> Path:
    """`fetch`, and the file's SHA-256 checked; a damaged copy is replaced once.

    Raises `HubError` where the new copy has another digest too.
    """
    path = fetch(repo, revision, file, kind)
    if sha256(path) == digest:
        return path
    path = fetch(repo, revision, file, kind, again=True)
    if sha256(path) != digest:
        os.unlink(path)
        raise HubError(
            f"{repo}/{file} does not have the SHA-256 of the manifest", "not used; report it to sr's authors"
        )
    return path
