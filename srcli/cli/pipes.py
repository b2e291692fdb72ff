"""stdin and stdout as images: `cat a.png | sr upscale - -o - > b.png`."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from srcli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from srcli.storage.locations import Location
    from srcli.upscaling.task import UpscaleTask


def names_from(listing: Path) -> list[str]:
    """The paths in a file (on stdin for `-`), one on a line, or apart by NUL as `find -print0` has them."""
    try:
        text = sys.stdin.buffer.read() if str(listing) == "-" else listing.read_bytes()
    except OSError as error:
        raise UsageError(f"{listing} cannot be read: {error.strerror}", "check --files-from") from error
    names = text.split(b"\0" if b"\0" in text else b"\n")
    return [name.rstrip(b"\r").decode(sys.getfilesystemencoding(), "surrogateescape") for name in names
            if name.strip()]  # fmt: skip


@contextmanager
def through_files(jobs: "list[UpscaleTask]", suffix: str | None) -> "Iterator[list[UpscaleTask]]":
    """The jobs with files in place of stdin and stdout; what was made for stdout is sent there at the end."""
    from srcli.batch.planning import PIPE

    if not any(PIPE in (job.source, job.target) for job in jobs):
        yield jobs
        return
    if any(job.target == PIPE for job in jobs) and sys.stdout.isatty():
        raise UsageError("an image on a terminal is of no use", "send stdout to a file: > large.png")
    with tempfile.TemporaryDirectory(prefix="sr-") as folder:
        real = [_as_files(job, Path(folder), suffix) for job in jobs]
        yield real
        for job, file in zip(jobs, real, strict=True):
            if job.target == PIPE and isinstance(file.target, Path) and file.target.exists():
                _send(file.target)


def called(jobs: "list[UpscaleTask]", files: "list[UpscaleTask]") -> dict[str, str]:
    """What to call the files that `through_files` gave in place of stdin and stdout."""
    pairs = list(zip(jobs, files, strict=True))
    sources = {str(file.source): "stdin" for job, file in pairs if job.source != file.source}
    return sources | {str(file.target): "stdout" for job, file in pairs if job.target != file.target}


def _as_files(job: "UpscaleTask", folder: Path, suffix: str | None) -> "UpscaleTask":
    from srcli.batch.planning import PIPE

    if job.source == PIPE:
        given = folder / "stdin"
        with given.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        job = replace(job, source=given)
    if job.target == PIPE:
        job = replace(job, target=folder / f"stdout{suffix or _suffix_by_content(job.source)}")
    return job


def _suffix_by_content(path: "Location") -> str:
    from srcli.imaging.codecs import reading, registry

    if not isinstance(path, Path):
        return path.suffix if path.suffix.lower() in registry.SUFFIXES else ".png"
    try:
        return registry.find_suffix(reading.read_info(path).format)
    except ImageError:
        return ".png"


def _send(path: Path) -> None:
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
