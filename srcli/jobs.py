"""Which file goes where: from what a user names to pairs of source and target."""

import glob
import hashlib
import os
import string
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from srcli.errors import DatasetError, UsageError
from srcli.imaging.formats import SUFFIXES, is_image

PIPE = Path("-")
_LONGEST_NAME = 255  # bytes, on every file system in use
_FIELDS = ("stem", "model", "scale")


@dataclass(frozen=True)
class Job:
    """An image to read and the place where its result goes."""

    source: Path
    target: Path

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True)
class Layout:
    """How outputs are named and where they lie.

    `output` a file or a folder, None for beside the input; `name` a template of `{stem}`, `{model}` and
    `{scale}`; `label` what `{scale}` stands for; `suffix` of the format, None for the input's own.
    """

    output: Path | None = None
    name: str = "{stem}_x{scale}"
    label: str = "4"
    model: str = ""
    suffix: str | None = None
    recursive: bool = False
    flat: bool = False
    tail: str = "_x4"

    def check(self) -> None:
        """Raise `UsageError` for templates that can't be filled in."""
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.name) if name is not None]
        except ValueError as error:
            raise UsageError(f"--name {self.name}: {error}", 'as in --name "{stem}_{model}"') from error
        for name in names:
            if name not in _FIELDS:
                known = " ".join(f"{{{field}}}" for field in _FIELDS)
                raise UsageError(f"--name has no field {{{name}}}", f"fields: {known}")

    @property
    def to_file(self) -> bool:
        """Whether `output` names a single file."""
        output = self.output
        return output is not None and (output == PIPE or (bool(output.suffix) and not output.is_dir()))


def plan(inputs: list[Path], layout: Layout) -> list[Job]:
    """The jobs for files, folders and patterns, in order, each file once.

    Raises `UsageError` where the command line can't be carried out as a whole.
    """
    layout.check()
    found = [(file, top) for given in inputs for file, top in _files(given, layout)]
    several = len(found) > 1 or any(map(_is_folder, inputs))
    if layout.to_file and several:
        raise UsageError(f"{layout.output} is one file, the input is several", "name a folder with --output")
    jobs = list(dict.fromkeys(Job(file, _target(file, top, layout)) for file, top in found))
    _check_distinct(jobs, layout)
    return jobs


def check_watchable(folders: list[Path], layout: Layout) -> None:
    """Raise `UsageError` where `now_in` would not do: for files, and for outputs that would be inputs."""
    layout.check()
    for folder in folders:
        if not _is_folder(folder):
            raise UsageError(f"--watch takes folders, and {folder} is none", "name the folder that it is in")
        if layout.output and layout.output.resolve() == folder.resolve():
            raise UsageError(f"{folder} is watched, and the outputs go there", "choose another --output")
    if layout.to_file:
        raise UsageError(f"{layout.output} is one file, a folder holds many", "name a folder with --output")


def now_in(folders: list[Path], layout: Layout) -> list[Job]:
    """The jobs for what is in `folders` at the moment; none if nothing is.

    Raises `DatasetError` where one can't be listed.
    """
    found = [
        (file, folder)
        for folder in folders
        for file in images_in(folder, layout.recursive, _output_root(folder, layout))
    ]
    return list(dict.fromkeys(Job(file, _target(file, folder, layout)) for file, folder in found))


def _files(given: Path, layout: Layout) -> Iterator[tuple[Path, Path | None]]:
    """Image files, each with the folder that it was found under (None where it was named itself)."""
    if _is_folder(given):
        files = [(file, given) for file in images_in(given, layout.recursive, _output_root(given, layout))]
        if not files:
            hint = "" if layout.recursive else ", or search its subfolders with -r"
            raise UsageError(f"no images in {given}", f"give a folder that holds image files{hint}")
        yield from files
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        matching = sorted(Path(name) for name in glob.glob(str(given), recursive=True))
        if not matching:
            raise UsageError(f"no file matches {given}", f"readable: {' '.join(SUFFIXES)}")
        for path in matching:
            if path.is_dir():
                yield from _files(path, layout) if layout.recursive else ()
            else:
                yield path, None
    else:
        yield given, None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long
        return False


def images_in(folder: Path, recursive: bool, without: Path | None = None) -> list[Path]:
    """The image files in a folder, sorted; links to folders are followed once, `without` is left out."""
    found: list[Path] = []
    seen: set[str] = set()

    def complain(error: OSError) -> None:
        raise DatasetError(f"cannot list {error.filename}: {error.strerror}", "check its permissions")

    for base, folders, names in os.walk(folder, followlinks=True, onerror=complain):
        real = os.path.realpath(base)
        if real in seen or (without and real == os.path.realpath(without)):
            folders.clear()
            continue
        seen.add(real)
        found += [path for name in names if is_image(path := Path(base, name)) and path.is_file()]
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
    return sorted(found)


def _output_root(source: Path, layout: Layout) -> Path | None:
    """Where the outputs for a folder go: `photos_x4` for `photos`, so that a second run won't meet them."""
    if layout.output is not None:
        return None if layout.output.resolve() == source.resolve() else layout.output
    named = source if source.name not in ("", "..") else source.resolve()
    return named.parent / f"{named.name}{layout.tail}"


def _target(file: Path, top: Path | None, layout: Layout) -> Path:
    if file == PIPE and layout.output is None:
        return PIPE
    if layout.output and layout.to_file:
        return layout.output
    folder = layout.output if top is None else layout.output or _output_root(top, layout)
    inner = Path() if top is None or layout.flat else file.parent.relative_to(top)
    stem = "stdin" if file == PIPE else file.stem
    name = layout.name.format(stem=stem, model=layout.model, scale=layout.label)
    suffix = layout.suffix or (file.suffix if file.suffix.lower() in SUFFIXES else ".png")
    target = (folder or file.parent) / inner / name
    return target.with_name(_short_enough(target.name, suffix))


def _short_enough(name: str, suffix: str) -> str:
    """Cut where a file system would not take it, with a few digits of its hash so that it stays distinct."""
    whole = os.fsencode(name + suffix)
    if len(whole) <= _LONGEST_NAME:
        return name + suffix
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    kept = os.fsencode(name)[: _LONGEST_NAME - len(os.fsencode(mark))]
    return kept.decode(sys.getfilesystemencoding(), "ignore") + mark


def _check_distinct(jobs: Iterable[Job], layout: Layout) -> None:
    seen: dict[Path, Path] = {}
    for job in jobs:
        if job.target in seen:
            both = f"{seen[job.target]} and {job.source}"
            hint = "leave out --flat" if layout.flat else "upscale them one by one"
            raise UsageError(f"{both} would both become {job.target}", hint)
        seen[job.target] = job.source
