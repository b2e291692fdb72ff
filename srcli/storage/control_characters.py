"""Text from files, with its control characters made visible."""

import re

# Characters that move the cursor, change what was printed, or turn the direction of text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def escape_controls(text: str) -> str:
    r"""Make control characters visible in text that may come from a file; the result is one line.

    >>> print(escape_controls("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
