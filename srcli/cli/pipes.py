"""Images on stdin and stdout: `cat a.png | sr upscale - -o - > b.png`."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path

from srcli.dataclass import dataclass
from srcli.errors import ImageError, SrError, UsageError
from srcli.storage.files import is_special, replace_atomically
from srcli.storage.text import decode_text, has_utf16_mark

PIPE = "-"
_STDOUT = (PIPE, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@dataclass(frozen=True)
class PipeFiles:
    """The inputs and the output of a command, with temporary files in place of stdin and stdout.

    `names` maps these files to the names to print.
    """

    inputs: tuple[str, ...]
    output: str | None
    names: dict[str, str] = field(default_factory=dict)

    @property
    def uses_stdout(self) -> bool:
        """True if an image goes to stdout."""
        return "stdout" in self.names.values()


def read_names(listing: Path | None, *, by_null: bool = False) -> list[str]:
    """Return the paths in a file, or on stdin for `-`: one per line, or separated by NUL bytes.

    `by_null`: certainly by NUL bytes, as `find -print0` does; otherwise only if the text makes sense that
    way. Without a file there are none. Raises `UsageError` for files that are no such list.
    """
    if listing is None:
        if by_null:
            raise UsageError("--null needs --files-from", "it says how the names in a list are separated")
        return []
    try:
        data = sys.stdin.buffer.read() if str(listing) == PIPE else listing.read_bytes()
    except OSError as error:
        raise UsageError(f"{listing} cannot be read: {error.strerror}", "check --files-from") from error
    if by_null or _is_separated_by_null(data):
        return [os.fsdecode(name) for name in data.split(b"\0") if name]
    try:
        text = decode_text(data, "surrogateescape")
    except ValueError:
        text = "\0"
    if "\0" in text:
        hint = "save it as UTF-8 with one name per line, or add --null if NUL bytes separate the names"
        name = "stdin" if str(listing) == PIPE else listing
        raise UsageError(f"{name} is not a list of names", hint)
    return [name for line in text.split("\n") if (name := line.rstrip("\r")).strip()]


def _is_separated_by_null(data: bytes) -> bool:
    """Return whether text is what `find -print0` writes, and not UTF-16, half of whose bytes are NUL."""
    if b"\0" not in data or has_utf16_mark(data):
        return False
    names = data.removesuffix(b"\0").split(b"\0")
    return min(map(len, names)) > 1 and (data.endswith(b"\0") or b"\n" not in data)


def check_no_pipes(inputs: list[str], output: str | None, reasons: Mapping[str, object]) -> None:
    """Raise `UsageError` if stdin or stdout is used with an option that does not allow it."""
    if PIPE not in inputs and output not in _STDOUT and not _find_special(output):
        return
    for option, value in reasons.items():
        if value not in (None, "", False):
            raise UsageError(f"{option} cannot be used with stdin or stdout", "name files instead of -")


@contextmanager
def download_inputs(inputs: list[str], output: str | None) -> Iterator[tuple[list[str], str | None]]:
    """Yield inputs with files in place of web addresses, and an output: the current folder by default."""
    from srcli.storage.web import download, is_web_address

    if not any(map(is_web_address, inputs)):
        yield inputs, output
        return
    if output is None and not all(map(is_web_address, inputs)):
        raise UsageError("some inputs are web addresses", "name a folder with --output")
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        named = []
        for number, each in enumerate(inputs):
            inner = Path(folder, str(number))
            inner.mkdir()
            named.append(str(download(each, inner)) if is_web_address(each) else each)
        yield named, output or "."


@contextmanager
def replace_pipes(inputs: list[str], output: str | None, suffix: str | None) -> Iterator[PipeFiles]:
    """Yield the names with files in place of `-`; send the output to stdout, a device or a FIFO at the end.

    `suffix` is that of the output's format, None for the input's own.
    """
    to_stdout = output in _STDOUT or (output is None and PIPE in inputs)
    special = None if to_stdout else _find_special(output)
    if not to_stdout and not special and PIPE not in inputs:
        yield PipeFiles(tuple(inputs), output)
        return
    if to_stdout and sys.stdout.isatty():
        raise UsageError("cannot write an image to a terminal", "redirect stdout: > large.png")
    if output is None and len(inputs) > 1:
        raise UsageError(
            "there are several inputs, but stdout takes one image", "name a folder with --output"
        )
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        names: dict[str, str] = {}
        if PIPE in inputs:
            source = str(_save_stdin(Path(folder)))
            names[source] = "stdin"
            inputs = [source if given == PIPE else given for given in inputs]
        if to_stdout or special:
            output = str(Path(folder, f"stdout{suffix or _find_suffix(inputs[0])}"))
            names[output] = str(special or "stdout")
        try:
            yield PipeFiles(tuple(inputs), output, names)
        except SrError as error:
            for path, name in names.items():
                error.message = error.message.replace(path, name)
            raise
        if output and special and Path(output).exists():
            with replace_atomically(special) as target:
                shutil.copyfile(output, target)
        elif to_stdout and output and Path(output).exists():
            _send_to_stdout(Path(output))


def _find_special(output: str | None) -> Path | None:
    """Return the output if it is a device, a FIFO or a descriptor, whose name does not tell the format."""
    from srcli.imaging.codecs.registry import SUFFIXES

    path = Path(output or "")
    return path if output and path.suffix.lower() not in SUFFIXES and is_special(path) else None


def _save_stdin(folder: Path) -> Path:
    path = folder / "stdin"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path


def _find_suffix(name: str) -> str:
    """Return the suffix of an image's format, by its content if it is a file; .png if it is not an image."""
    from srcli.imaging.codecs import reading, registry
    from srcli.storage.locations import parse_location

    location = parse_location(name)
    if not isinstance(location, Path):
        return location.suffix if location.suffix.lower() in registry.SUFFIXES else ".png"
    try:
        return registry.find_suffix(reading.read_info(location).format)
    except (ImageError, UsageError):
        return ".png"


def _send_to_stdout(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
