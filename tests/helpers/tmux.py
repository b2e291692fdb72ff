"""A real terminal for tests: a command in tmux, and what is on its screen."""

import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from helpers.paths import ROOT

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Terminal:
    """A shell in a terminal of that many columns, in which `sr` is this checkout."""

    def __init__(self, folder: Path, columns: int, lines: int = 50) -> None:
        self._socket = f"sr-{uuid.uuid4().hex[:12]}"
        program = shlex.join([sys.executable, "-m", "srcli"])
        settings = {"PYTHONPATH": str(ROOT), "PS1": "$ ", "TERM": "screen", "HISTFILE": "/dev/null"}
        exports = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
        start = folder / ".start"
        start.write_text("\n".join([*exports, f'sr() {{ {program} "$@"; }}']) + "\n")
        shell = f"bash --noprofile --rcfile {shlex.quote(str(start))} -i"
        size = ("-x", str(columns), "-y", str(lines))
        self._run("new-session", "-d", *size, "-c", str(folder), shell)

    def __enter__(self) -> Self:
        self.wait(lambda screen: "$" in screen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("kill-server")

    def _run(self, *words: str) -> str:
        command = ["tmux", "-L", self._socket, "-f", os.devnull, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    @property
    def screen(self) -> str:
        """Everything so far, as a person sees it, without the blanks at the end of lines."""
        text = self._run("capture-pane", "-p", "-S", "-2000")
        return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n")

    def type(self, text: str) -> None:
        """Type a line."""
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def wait(self, is_there: Callable[[str], bool], seconds: float = 120) -> str:
        """Return the screen as soon as it is as expected. Fails after some time."""
        end = time.monotonic() + seconds
        while not is_there(screen := self.screen):
            assert time.monotonic() < end, f"this never came:\n{screen}"
            time.sleep(0.05)
        return screen

    def run(self, command: str, watch: Callable[[str], None] | None = None) -> str:
        """Return what one command leaves on the screen; `watch` sees the screen while it runs."""
        before = self.screen
        self.type(command)

        def is_done(screen: str) -> bool:
            if watch:
                watch(screen)
            lines = screen.splitlines()
            return len(lines) > len(before.splitlines()) and lines[-1].strip() == "$"

        after = self.wait(is_done)
        return "\n".join(after.splitlines()[len(before.splitlines()) :])


def list_overlong(screen: str, columns: int) -> Sequence[str]:
    """Return lines that are wider than the terminal, which tmux would have wrapped."""
    return [line for line in screen.splitlines() if len(line) > columns]
