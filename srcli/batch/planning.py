"""Which file goes where: from what a user names to pairs of source and target."""

import glob
import hashlib
import os
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srcli.errors import DatasetError, UsageError
from srcli.imaging.codecs.registry import READABLE_SUFFIXES, SUFFIXES, is_image
from srcli.storage.locations import Location, RemotePath, get_identity, is_many, list_files, strip_pattern
from srcli.upscaling.task import UpscaleTask

PIPE = Path("-")
_LONGEST_NAME = 255  # bytes, on every file system in use
_FIELDS = ("stem", "model", "scale")
_Listing = Callable[[Path, bool, Path | None], Iterable[Path]]


@dataclass(frozen=True)
class ListedTask:
    """A job, and what tells whether its source has changed since: as much as a listing says of a file."""

    job: UpscaleTask
    identity: str


@dataclass(frozen=True)
class Layout:
    """How outputs are named and where they lie.

    `output` a file or a folder, None for beside the input; `name` a template of `{stem}`, `{model}` and
    `{scale}`; `label` what `{scale}` stands for; `suffix` of the format, None for the input's own.
    """

    output: Location | None = None
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
        if isinstance(output, RemotePath):
            return output.suffix.lower() in SUFFIXES  # the names of buckets have dots, too
        return output is not None and (output == PIPE or (bool(output.suffix) and not output.is_dir()))


def plan(inputs: Sequence[Location], layout: Layout) -> list[UpscaleTask]:
    """The jobs for files, folders and patterns, in order, each file once; in stores only for files.

    Raises `UsageError` where the command line can't be carried out as a whole.
    """
    layout.check()
    found: list[tuple[Location, Path | None]] = []
    for given in inputs:
        found += [(given, None)] if isinstance(given, RemotePath) else _files(given, layout, images_in)
    several = len(found) > 1 or any(_is_folder(given) for given in inputs if isinstance(given, Path))
    if layout.to_file and several:
        raise UsageError(f"{layout.output} is one file, the input is several", "name a folder with --output")
    jobs = list(dict.fromkeys(UpscaleTask(file, _target(file, top, layout)) for file, top in found))
    _check_distinct(jobs, layout)
    return jobs


def found(inputs: Sequence[Location], layout: Layout) -> Iterator[ListedTask]:
    """As `plan`, in no order and one at a time, so that a million of them are no matter of memory.

    It is left to the caller to see to it that each source and each target is there once.
    """
    layout.check()
    if layout.to_file:
        raise UsageError(f"{layout.output} is one file, a job is many", "name a folder with --output")
    for given in inputs:
        if isinstance(given, RemotePath):
            yield from _found_in_store(given, layout)
            continue
        for file, top in _files(given, layout, each_image_in):
            yield ListedTask(UpscaleTask(file, _target(file, top, layout)), get_identity(file))


def _found_in_store(given: RemotePath, layout: Layout) -> Iterator[ListedTask]:
    if not is_many(given):
        yield ListedTask(UpscaleTask(given, _target(given, None, layout)), get_identity(given))
        return
    top = (
        strip_pattern(given) if given == strip_pattern(given) else None
    )  # what a pattern finds is as if it were named
    images = (one for one in list_files(given, layout.recursive, layout.output) if is_image(one.location))
    one = None
    for one in images:
        yield ListedTask(UpscaleTask(one.location, _target(one.location, top, layout)), one.identity)
    if one is None:
        hint = "give a folder or a pattern of image files" + ("" if layout.recursive else ", or give -r")
        raise UsageError(f"no images in {given}", hint)


def check_watchable(folders: Sequence[Location], layout: Layout) -> None:
    """Raise `UsageError` where `now_in` would not do: for files, and for outputs that would be inputs."""
    layout.check()
    for folder in folders:
        if isinstance(folder, RemotePath):
            raise UsageError(f"--watch sees no stores, and {folder} is in one", "run --job with --rescan")
        if not _is_folder(folder):
            raise UsageError(f"--watch takes folders, and {folder} is none", "name the folder that it is in")
        if layout.output and _is_same(layout.output, folder):
            raise UsageError(f"{folder} is watched, and the outputs go there", "choose another --output")
    if layout.to_file:
        raise UsageError(f"{layout.output} is one file, a folder holds many", "name a folder with --output")


def now_in(folders: Sequence[Path], layout: Layout) -> list[UpscaleTask]:
    """The jobs for what is in `folders` at the moment; none if nothing is.

    Raises `DatasetError` where one can't be listed.
    """
    found = [
        (file, folder)
        for folder in folders
        for file in images_in(folder, layout.recursive, _local(_output_root(folder, layout)))
    ]
    return list(dict.fromkeys(UpscaleTask(file, _target(file, folder, layout)) for file, folder in found))


def _files(given: Path, layout: Layout, listing: _Listing) -> Iterator[tuple[Path, Path | None]]:
    """Image files, each with the folder that it was found under (None where it was named itself)."""
    if _is_folder(given):
        file = None
        for file in listing(given, layout.recursive, _local(_output_root(given, layout))):
            yield file, given
        if file is None:
            hint = "" if layout.recursive else ", or search its subfolders with -r"
            raise UsageError(f"no images in {given}", f"give a folder that holds image files{hint}")
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        matching = sorted(Path(name) for name in glob.glob(str(given), recursive=True))
        if not matching:
            raise UsageError(f"no file matches {given}", f"readable: {' '.join(READABLE_SUFFIXES)}")
        for path in matching:
            if path.is_dir():
                yield from _files(path, layout, listing) if layout.recursive else ()
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
    return sorted(each_image_in(folder, recursive, without))


def each_image_in(folder: Path, recursive: bool, without: Path | None = None) -> Iterator[Path]:
    """`images_in` as they are found, without holding them all."""
    seen, left = set[str](), [folder]
    apart = os.path.realpath(without) if without else None
    while left:
        base = left.pop()
        real = os.path.realpath(base)
        if real in seen or real == apart:
            continue
        seen.add(real)
        for entry in _entries(base):
            path = base / entry.name
            if entry.is_dir():
                left += [path] if recursive and not entry.name.startswith(".") else []
            elif is_image(path) and entry.is_file():
                yield path


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}", "check its permissions") from error


def _is_same(a: Location, b: Path) -> bool:
    return isinstance(a, Path) and a.resolve() == b.resolve()


def _local(folder: Location | None) -> Path | None:
    """What a walk through folders here could meet."""
    return folder if isinstance(folder, Path) else None


def _output_root(source: Path, layout: Layout) -> Location | None:
    """Where the outputs for a folder go: `photos_x4` for `photos`, so that a second run won't meet them."""
    if layout.output is not None:
        return None if _is_same(layout.output, source) else layout.output
    named = source if source.name not in ("", "..") else source.resolve()
    return named.parent / f"{named.name}{layout.tail}"


def _target(file: Location, top: Location | None, layout: Layout) -> Location:
    if file == PIPE and layout.output is None:
        return PIPE
    if layout.output and layout.to_file:
        return layout.output
    target = _folder(file, top, layout) / _name(file, layout)
    return target.with_name(_short_enough(target.name, _suffix(file, layout)))


def _folder(file: Location, top: Location | None, layout: Layout) -> Location:
    """Where the output goes, in the same tree as the input unless that is flattened."""
    if isinstance(file, RemotePath):
        if layout.output is None:
            raise UsageError(
                f"{file} is in a store, and nothing is put there unasked", "say where with --output"
            )
        inner = (
            file.relative_to(top).parent
            if isinstance(top, RemotePath) and not layout.flat
            else PurePosixPath()
        )
        return layout.output / inner
    if not isinstance(top, Path):
        return layout.output or file.parent
    root = layout.output or _output_root(top, layout) or file.parent
    return root if layout.flat else root / file.parent.relative_to(top)


def _name(file: Location, layout: Layout) -> str:
    stem = "stdin" if file == PIPE else file.stem
    return layout.name.format(stem=stem, model=layout.model, scale=layout.label)


def _suffix(file: Location, layout: Layout) -> str:
    return layout.suffix or (file.suffix if file.suffix.lower() in SUFFIXES else ".png")


def _short_enough(name: str, suffix: str) -> str:
    """Cut where a file system would not take it, with a few digits of its hash so that it stays distinct."""
    whole = os.fsencode(name + suffix)
    if len(whole) <= _LONGEST_NAME:
        return name + suffix
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    kept = os.fsencode(name)[: _LONGEST_NAME - len(os.fsencode(mark))]
    return kept.decode(sys.getfilesystemencoding(), "ignore") + mark


def _check_distinct(jobs: Iterable[UpscaleTask], layout: Layout) -> None:
    seen: dict[Location, Location] = {}
    for job in jobs:
        if job.target in seen:
            both = f"{seen[job.target]} and {job.source}"
            hint = "leave out --flat" if layout.flat else "upscale them one by one"
            raise UsageError(f"{both} would both become {job.target}", hint)
        seen[job.target] = job.source
