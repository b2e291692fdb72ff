"""Names and texts from files, made harmless for Markdown and file names."""

import html
import re

from srcli.storage.control_characters import escape_controls

_LONGEST_SLUG = 80  # characters


def escape_markdown(text: str) -> str:
    r"""Return the text of a table cell, in one line, that shows HTML and Markdown instead of using them.

    >>> escape_markdown("<b>|a"), escape_markdown("[x](http://y)"), escape_markdown("edsr_x4 (2)")
    ('&lt;b&gt;\\|a', '\\[x](http://y)', 'edsr_x4 (2)')
    """
    escaped = html.escape(escape_controls(" ".join(text.split())), quote=False)
    return re.sub(r"([|\\`\[*]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)


def make_slug(text: str) -> str:
    """Return a text as part of a file name.

    >>> make_slug("../../Set5"), make_slug("DIV2K (valid)"), make_slug("CON:")
    ('Set5', 'DIV2K-valid', 'CON')
    """
    return re.sub(r"[^\w.]+", "-", text).strip("-._")[:_LONGEST_SLUG] or "unnamed"
