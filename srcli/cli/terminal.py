"""Facts about the terminal that the process talks to."""

import os
import stat
import sys
from contextlib import suppress


def can_show_bar() -> bool:
    """Tell whether a bar on stderr is seen and disturbs nothing.

    What goes into a pipe may come out on the same terminal, by `| tee` or `| head`, in the middle of a bar.
    """
    if not sys.stderr.isatty():
        return False
    with suppress(OSError, ValueError):  # stdout is closed
        return not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    return True


def can_ask() -> bool:
    """Tell whether somebody sees a question and can answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()
