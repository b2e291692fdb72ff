"""The transfer of one file into the cache of the Hub's client: bounded, resumed, and patient for a while.

The client keeps nothing of a transfer that broke off, follows no limit but that of the disk, and repeats
`GET` for some errors only. The layout of its cache is documented:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.dataclass import dataclass
from srcli.errors import SrError

if TYPE_CHECKING:
    import httpx2

_BLOCK = 2**18
# Seconds for which a failing server is asked again, and those that it may ask for itself.
DEADLINE = 8.0
LONGEST_WAIT = 30.0
# How often a transfer is started if it breaks off.
_ATTEMPTS = 3
_GOOD_PART = 2**20
# What another process left is removed after a day.
_STALE_SECONDS = 86_400
_SUFFIX = ".incomplete"
TEMPORARY_STATUS = (408, 429, 500, 502, 503, 504)


class TransferError(SrError):
    """A body that is not the file that was announced."""


@dataclass(frozen=True)
class Body:
    """A file to transfer: its address, the headers to send, its stated size in bytes and its entity tag."""

    name: str
    url: str
    headers: dict[str, str] = field(repr=False)
    size: int
    etag: str


def read_retry_after(error: Exception) -> float | None:
    """Return the seconds after which a server wants to be asked again, or None if it does not say."""
    response = getattr(error, "response", None)
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return float(text) if text.isdecimal() and len(text) < 9 else None


def wait_for_server(error: Exception, give_up: float) -> bool:
    """Wait before a request is repeated; False if the server asks for too much, or time is up.

    Without `Retry-After`, a request is repeated until `give_up`, a time of `time.monotonic`, `DEADLINE` after
    the first; with it, all waits together may take `LONGEST_WAIT`.
    """
    asked = read_retry_after(error)
    if asked is None:
        if time.monotonic() + 1 > give_up:
            return False
        time.sleep(0.5)
        return True
    if time.monotonic() + asked > give_up - DEADLINE + LONGEST_WAIT:
        return False
    time.sleep(asked)
    return True


def store_file(cache: Path, repo_folder: str, commit: str, file: str, body: Body, *, again: bool) -> Path:
    """Transfer a file into the cache, unless its content is there, and return its path in the snapshot.

    `again`: replace the content. Raises `TransferError`, and what the client and the disk raise.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    content = cache / repo_folder / "blobs" / body.etag
    path = cache / repo_folder / "snapshots" / commit / file
    lock = cache / ".locks" / repo_folder / f"{body.etag}.lock"
    for folder in (content.parent, path.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if again or not content.is_file():
            part = content.with_name(content.name + _SUFFIX)
            _sweep(content.parent, part)
            _transfer(body, part)
            part.replace(content)
        _link(content, path)
    return path


def _sweep(folder: Path, own: Path) -> None:
    """Remove what transfers that ended long ago left in a folder, but for the file that is continued."""
    with contextlib.suppress(OSError):
        for left in folder.glob(f"*{_SUFFIX}"):
            if left != own and time.time() - left.stat().st_mtime > _STALE_SECONDS:
                left.unlink(missing_ok=True)


def _link(content: Path, path: Path) -> None:
    """Let `path` be a link to the content, or a copy where there are no links."""
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(content, path.parent))
    except OSError:
        shutil.copyfile(content, path)


def _transfer(body: Body, part: Path) -> None:
    """Write the body to `part`, continuing what is there; a part that turns out wrong is removed."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    give_up, breaks = time.monotonic() + DEADLINE, 0
    while True:
        had = _measure(part)
        try:
            _receive(body, part)
            return
        except httpx2.TransportError:
            # A long transfer may break off often, as long as it gets ahead.
            breaks = 1 if _measure(part) - had >= _GOOD_PART else breaks + 1
            if breaks == _ATTEMPTS:
                raise
        except HfHubHTTPError as error:
            is_temporary = error.response.status_code in TEMPORARY_STATUS
            if not is_temporary or not wait_for_server(error, give_up):
                raise
        except TransferError:
            part.unlink(missing_ok=True)
            raise


def _measure(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(body: Body, part: Path) -> None:
    """Append what is missing. Raises `TransferError` for a body that is longer than stated, or a page."""
    import httpx2
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    have = _measure(part)
    if have == body.size:
        return
    if have > body.size:
        part.unlink()
        have = 0
    with _open(body, have) as response:
        hf_raise_for_status(response)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise TransferError(
                f"{response.url.host} sends a web page instead of {body.name}",
                "a login page of this network? check the connection, the proxy and HF_ENDPOINT",
            )
        is_continued = response.status_code == HTTPStatus.PARTIAL_CONTENT and _starts_at(response, have)
        done = have if is_continued else 0
        with part.open("ab" if is_continued else "wb") as file, _show_progress(body, done) as progress:
            for block in response.iter_bytes(_BLOCK):
                done += len(block)
                if done > body.size:
                    raise TransferError(
                        f"{response.url.host} sends more than the {body.size:,} bytes of {body.name}",
                        "nothing of it was kept; check HF_ENDPOINT and the proxy",
                    )
                file.write(block)
                progress.update(len(block))
    if done < body.size:
        raise httpx2.RemoteProtocolError(f"the connection closed after {done:,} of {body.size:,} bytes")


@contextlib.contextmanager
def _open(body: Body, have: int) -> "Iterator[httpx2.Response]":
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    headers = body.headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with get_session().stream(
        "GET", body.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=True
    ) as response:
        yield response


def _starts_at(response: "httpx2.Response", have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _show_progress(body: Body, done: int) -> Any:
    """Return the client's progress bar, which its environment can switch off."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    return tqdm(  # type: ignore[no-untyped-call]
        total=body.size, initial=done, unit="B", unit_scale=True, desc=body.name
    )
