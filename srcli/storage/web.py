"""Images from the web: downloaded to a file, with bounds on size and time."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from srcli.errors import FileError

_LARGEST = 500 * 2**20  # bytes
_PATIENCE = 30.0  # seconds without an answer or without data
_CHUNK = 2**18


def is_web_address(name: str) -> bool:
    """Tell whether a name is an http or https address.

    >>> is_web_address("https://example.com/a.jpg"), is_web_address("s3://bucket/a.jpg")
    (True, False)
    """
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def download(address: str, folder: Path) -> Path:
    """Return the file in `folder` that an address was saved to, under the name it has there.

    Raises `FileError` if the server refuses, does not answer or sends too much.
    """
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    path = folder / _choose_name(address)
    request = urllib.request.Request(address, headers={"User-Agent": "sr-cli"})
    size = 0
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer, path.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > _LARGEST:
                    limit = f"{_LARGEST // 2**20} MB"
                    raise FileError(f"{address} has more than {limit}", "download it, then name the file")
                file.write(chunk)
    except urllib.error.HTTPError as error:
        raise FileError(f"{address}: the server answers {error.code}", "check the address") from error
    except (OSError, ValueError, HTTPException) as error:
        cause = getattr(error, "reason", None) or error
        reason = getattr(cause, "strerror", None) or cause  # without the number of the error
        raise FileError(f"{address} cannot be downloaded: {reason}", "check the address") from error
    return path


def _choose_name(address: str) -> str:
    """Return the last part of an address as a name for a file.

    >>> _choose_name("https://example.com/a/my%20photo.jpg?size=large"), _choose_name("https://example.com/")
    ('my photo.jpg', 'image')
    """
    last = unquote(urlsplit(address).path).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w .()+-]", "_", last).lstrip(".")[-100:] or "image"
