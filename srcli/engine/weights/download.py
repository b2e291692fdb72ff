"""Downloads of weight files from any address: bounded, continued where they broke off, and verified."""

import hashlib
import re
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from srcli.engine.weights import onnx
from srcli.engine.weights.checkpoint import LARGEST_FILE, identify_format
from srcli.errors import FileError, WeightsError
from srcli.storage.hashing import sha256

_BLOCK = 2**18
_PATIENCE = 20.0  # seconds without an answer
_ATTEMPTS = 3

Progress = Callable[[int, int | None], None]


def find_direct_address(url: str) -> str:
    """Return the address of a file instead of that of its page on GitHub or the Hugging Face Hub.

    >>> find_direct_address("https://huggingface.co/a/b/blob/main/c.pth")
    'https://huggingface.co/a/b/resolve/main/c.pth'
    """
    url = re.sub(r"^(https://huggingface\.co/[^/]+/[^/]+)/blob/", r"\1/resolve/", url)
    return re.sub(r"^(https://github\.com/[^/]+/[^/]+)/blob/", r"\1/raw/", url)


def download(url: str, folder: Path, digest: str | None, progress: Progress) -> Path:
    """Download a weight file into a folder and return its path, with a name of its own that ends in .part.

    `progress` receives the bytes that are there and of the whole, if known. What was downloaded before an
    error stays, and the next call continues. Raises `WeightsError` if the server fails, or if the content is
    no weight file or has another SHA-256 than `digest`: that is not kept.
    """
    url = find_direct_address(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot create {folder}: {error.strerror}", "set SR_MODELS to another folder"
        ) from error
    part = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.part"
    for attempt in range(_ATTEMPTS):
        try:
            _fetch(url, part, progress)
            break
        except (HTTPException, TimeoutError, ConnectionError, URLError) as error:
            if isinstance(error, HTTPError) or attempt == _ATTEMPTS - 1:
                raise _explain(url, error) from error
        except OSError as error:
            raise FileError(
                f"cannot write into {folder}: {error.strerror}", "free some disk space"
            ) from error
    try:
        if Path(urlsplit(url).path).suffix.lower() not in onnx.SUFFIXES:  # graphs are tried by whoever asked
            identify_format(part)
        found = sha256(part)
        if digest not in (None, found):
            raise WeightsError(f"{url}: its SHA-256 is {found}, not {digest}", "it was not added")
    except WeightsError as error:
        message = error.message.replace(str(part), url)
        part.unlink()
        raise WeightsError(message, error.hint) from error
    return part


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Add what is missing to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "sr", **({"Range": f"bytes={have}-"} if have else {})})
    try:
        answer: HTTPResponse = urlopen(request, timeout=_PATIENCE)
    except HTTPError as error:
        if error.code == 416:  # nothing is missing, or the file is another one now: read it again
            part.unlink(missing_ok=True)
            if have:
                _fetch(url, part, progress)
                return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        done = file.tell()
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdecimal() and len(length) < 19 else None
        if (total or 0) > LARGEST_FILE:
            raise WeightsError(f"{url} is too large for weights: {total:,} bytes", "give another address")
        while block := answer.read(_BLOCK):
            done += len(block)
            if done > LARGEST_FILE:
                raise WeightsError(f"{url} is too large for weights", "give another address")
            file.write(block)
            progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection closed after {done:,} of {total:,} bytes")


def _explain(url: str, error: Exception) -> WeightsError:
    if isinstance(error, HTTPError):
        return WeightsError(
            f"{url} cannot be downloaded: the server answers {error.code}", "check the address"
        )
    reason = error.reason if isinstance(error, URLError) else error
    first_line = (str(reason).strip() or type(error).__name__).splitlines()[0]
    return WeightsError(
        f"{url} cannot be downloaded: {first_line}", "try again: it continues where it stopped"
    )
