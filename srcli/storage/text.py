"""Text files as editors on all systems write them: UTF-8 with or without a byte-order mark, or UTF-16."""

import codecs
import sys


def has_utf16_mark(data: bytes) -> bool:
    """Return whether text starts with the byte-order mark of UTF-16."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Decode UTF-16 by its byte-order mark, and all else as UTF-8, whose mark is dropped.

    `errors` is for UTF-8: `surrogateescape` keeps file names that are not valid text. Raises `ValueError`.
    """
    if has_utf16_mark(data):
        return data.decode("utf-16")
    return data.removeprefix(codecs.BOM_UTF8).decode(
        sys.getfilesystemencoding() if errors == "surrogateescape" else "utf-8", errors
    )
