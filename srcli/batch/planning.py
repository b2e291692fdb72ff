"""Which file goes where: from what a user names to pairs of source and target."""

import glob
import hashlib
import os
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.codecs.registry import READABLE_SUFFIXES, SUFFIXES, is_image
from srcli.storage.locations import (
    Location,
    RemotePath,
    canonicalize,
    exists,
    get_identity,
    is_many,
    list_files,
    strip_pattern,
)
from srcli.upscaling.task import UpscaleTask

_LONGEST_NAME = 255  # bytes, on all common file systems
_FIELDS = ("stem", "model", "scale")
_ListFolder = Callable[[Path, bool, Path | None], Iterable[Path]]


@dataclass(frozen=True)
class ListedTask:
    """A task and the identity of its source, which changes with the file."""

    task: UpscaleTask
    identity: str


@dataclass(frozen=True)
class Layout:
    """The location and the names of outputs.

    `output` is a file or a folder, None for next to the input; `name` a template of {stem}, {model} and
    {scale}, the last two of which are `model` and `scale`. `suffix` is that of the format, None for the
    input's own. Without `output`, a folder's outputs go to a folder with `folder_suffix` after its name.
    """

    output: Location | None = None
    name: str = "{stem}_x{scale}"
    scale: str = "4"
    model: str = ""
    suffix: str | None = None
    recursive: bool = False
    flat: bool = False
    folder_suffix: str = "_x4"

    def check(self) -> None:
        """Raise `UsageError` for a template that cannot be filled in."""
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.name) if name is not None]
        except ValueError as error:
            raise UsageError(
                f"--name {self.name}: {error}", 'for example: --name "{stem}_{model}"'
            ) from error
        for name in names:
            if name not in _FIELDS:
                known = " ".join(f"{{{field}}}" for field in _FIELDS)
                raise UsageError(f"--name has no field {{{name}}}", f"fields: {known}")

    @property
    def is_one_file(self) -> bool:
        """True if `output` names a single file."""
        output = self.output
        if isinstance(output, RemotePath):
            return output.suffix.lower() in SUFFIXES  # bucket names may contain dots
        return output is not None and bool(output.suffix) and not output.is_dir()


def plan_outputs(inputs: Sequence[Location], layout: Layout) -> list[UpscaleTask]:
    """Return the tasks for files, folders and patterns, in order, each file once; in stores only for files.

    Raises `UsageError` if two tasks collide, or if there is nothing to do.
    """
    layout.check()
    sources: list[tuple[Location, Path | None]] = []
    for given in inputs:
        sources += (
            [(given, None)] if isinstance(given, RemotePath) else _list_local(given, layout, list_images)
        )
    several = len(sources) > 1 or any(_is_folder(given) for given in inputs if isinstance(given, Path))
    if layout.is_one_file and several:
        raise UsageError(
            f"{layout.output} is one file, but there are several inputs", "name an output folder"
        )
    tasks = list(dict.fromkeys(UpscaleTask(file, _make_target(file, top, layout)) for file, top in sources))
    _check_distinct(tasks, layout)
    return tasks


def iterate_tasks(inputs: Sequence[Location], layout: Layout) -> Iterator[ListedTask]:
    """Yield the tasks for any number of images as they are listed, in no particular order.

    The caller makes sure that each source and each target appears once.
    """
    layout.check()
    if layout.is_one_file:
        raise UsageError(f"{layout.output} is one file, but a job may have many", "name an output folder")
    for given in inputs:
        if isinstance(given, RemotePath):
            yield from _iterate_store(given, layout)
            continue
        for file, top in _list_local(given, layout, iterate_images):
            yield ListedTask(UpscaleTask(file, _make_target(file, top, layout)), get_identity(file))


def _iterate_store(given: RemotePath, layout: Layout) -> Iterator[ListedTask]:
    if not is_many(given):
        yield ListedTask(UpscaleTask(given, _make_target(given, None, layout)), get_identity(given))
        return
    # What a pattern matches is treated like files that were named one by one.
    top = given if given == strip_pattern(given) else None
    images = (file for file in list_files(given, layout.recursive, layout.output) if is_image(file.location))
    file = None
    for file in images:
        target = _make_target(file.location, top, layout)
        yield ListedTask(UpscaleTask(file.location, target), file.identity)
    if file is None:
        hint = "name a folder or a pattern of image files" + ("" if layout.recursive else ", or add -r")
        raise UsageError(f"no images in {given}", hint)


def check_watchable(folders: Sequence[Location], layout: Layout) -> None:
    """Raise `UsageError` for inputs that `scan_folders` cannot watch, or outputs that would become inputs."""
    layout.check()
    for folder in folders:
        if isinstance(folder, RemotePath):
            raise UsageError(f"--watch cannot watch {folder}, which is remote", "use --job with --rescan")
        if not _is_folder(folder):
            kind = "is a file" if folder.exists() else "does not exist"
            raise UsageError(f"--watch needs a folder; {folder} {kind}", "name the folder to watch")
        if layout.output and _is_same(layout.output, folder):
            raise UsageError(f"{folder} is watched and cannot hold the outputs", "choose another --output")
    if layout.is_one_file:
        raise UsageError(f"{layout.output} is one file, but a folder has many", "name an output folder")


def scan_folders(folders: Sequence[Path], layout: Layout) -> list[UpscaleTask]:
    """Return the tasks for the images that are in `folders` at the moment, if any.

    Raises `DatasetError` if a folder cannot be listed.
    """
    sources = [
        (file, folder)
        for folder in folders
        for file in list_images(folder, layout.recursive, _as_path(_find_output_root(folder, layout)))
    ]
    return list(dict.fromkeys(UpscaleTask(file, _make_target(file, top, layout)) for file, top in sources))


def _list_local(given: Path, layout: Layout, list_folder: _ListFolder) -> Iterator[tuple[Path, Path | None]]:
    """Yield image files, each with the folder it was found in, or None if it was named itself."""
    if _is_folder(given):
        file = None
        for file in list_folder(given, layout.recursive, _as_path(_find_output_root(given, layout))):
            yield file, given
        if file is None:
            hint = "" if layout.recursive else ", or search subfolders with -r"
            raise UsageError(f"no images in {given}", f"name a folder of image files{hint}")
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        matches = sorted(Path(name) for name in glob.glob(str(given), recursive=True))
        if not matches:
            raise UsageError(f"no file matches {given}", f"readable: {' '.join(READABLE_SUFFIXES)}")
        for path in matches:
            if path.is_dir():
                yield from _list_local(path, layout, list_folder) if layout.recursive else ()
            else:
                yield path, None
    else:
        yield given, None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long
        return False


def list_images(folder: Path, recursive: bool, without: Path | None = None) -> list[Path]:
    """Return the image files in a folder, sorted. Links to folders are followed once; skips `without`."""
    return sorted(iterate_images(folder, recursive, without))


def iterate_images(folder: Path, recursive: bool, without: Path | None = None) -> Iterator[Path]:
    """Yield what `list_images` returns, unsorted, without holding all names."""
    seen, folders = set[str](), [folder]
    excluded = os.path.realpath(without) if without else None
    while folders:
        base = folders.pop()
        real = os.path.realpath(base)
        if real in seen or real == excluded:
            continue
        seen.add(real)
        for entry in _scan(base):
            path = base / entry.name
            if entry.is_dir():
                folders += [path] if recursive and not entry.name.startswith(".") else []
            elif is_image(path) and entry.is_file():
                yield path


def _scan(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise DatasetError(f"cannot list {folder}: {error.strerror}", "check its permissions") from error


def _is_same(a: Location, b: Path) -> bool:
    return isinstance(a, Path) and a.resolve() == b.resolve()


def _as_path(folder: Location | None) -> Path | None:
    """Return a folder on this machine, which a walk could run into, or None."""
    return folder if isinstance(folder, Path) else None


def _find_output_root(source: Path, layout: Layout) -> Location | None:
    """Return where the outputs of a folder go: photos_x4 for photos, so that a second run skips them."""
    if layout.output is not None:
        return None if _is_same(layout.output, source) else layout.output
    named = source if source.name not in ("", "..") else source.resolve()
    return named.parent / f"{named.name}{layout.folder_suffix}"


def _make_target(file: Location, top: Location | None, layout: Layout) -> Location:
    if layout.output and layout.is_one_file:
        return layout.output
    name = layout.name.format(stem=file.stem, model=layout.model, scale=layout.scale)
    suffix = layout.suffix or (file.suffix if file.suffix.lower() in SUFFIXES else ".png")
    target = _find_folder(file, top, layout) / name
    return target.with_name(_shorten(target.name, suffix))


def _find_folder(file: Location, top: Location | None, layout: Layout) -> Location:
    """Return the output's folder, which mirrors the input tree unless `flat`."""
    if isinstance(file, RemotePath):
        if layout.output is None:
            raise UsageError(f"{file} is remote, so --output is required", "name a folder or a file")
        mirrors = isinstance(top, RemotePath) and not layout.flat
        inner = file.relative_to(top).parent if isinstance(top, RemotePath) and mirrors else PurePosixPath()
        return layout.output / inner
    if not isinstance(top, Path):
        return layout.output or file.parent
    root = layout.output or _find_output_root(top, layout) or file.parent
    return root if layout.flat else root / file.parent.relative_to(top)


def _shorten(name: str, suffix: str) -> str:
    """Return a name that file systems accept; a cut one ends with a hash so that it stays distinct."""
    whole = os.fsencode(name + suffix)
    if len(whole) <= _LONGEST_NAME:
        return name + suffix
    ending = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    start = os.fsencode(name)[: _LONGEST_NAME - len(os.fsencode(ending))]
    return start.decode(sys.getfilesystemencoding(), "ignore") + ending


def _check_distinct(tasks: Iterable[UpscaleTask], layout: Layout) -> None:
    seen: dict[Location, Location] = {}
    for task in tasks:
        if task.target in seen:
            both = f"{seen[task.target]} and {task.source}"
            hint = "leave out --flat" if layout.flat else "upscale them one by one"
            raise UsageError(f"{both} would both be written to {task.target}", hint)
        seen[task.target] = task.source


@dataclass
class OutputGuard:
    """Prevents outputs from overwriting inputs or each other; remembers both."""

    sources: set[str] = field(default_factory=set)
    owners: dict[Location, Location] = field(default_factory=dict)

    def check(self, task: UpscaleTask) -> None:
        """Raise `SrError` if the target is an input or another task's target."""
        source, target = canonicalize(task.source), task.target
        self.sources.add(source)
        if self.owners.setdefault(target, task.source) != task.source:
            both = f"{self.owners[target]} and {task.source}"
            raise SrError(f"{both} would both be written to {target}", "rename one of them")
        if not exists(target):
            return
        if canonicalize(target) == source:
            raise SrError(f"{target} is the input itself", "choose another --output")
        if canonicalize(target) in self.sources:
            raise SrError(f"{target} is also an input", "choose another --output")


def check_not_input(task: UpscaleTask) -> None:
    """Raise `SrError` if the target is the source itself."""
    if canonicalize(task.source) == canonicalize(task.target):
        raise SrError(f"{task.target} is the input itself", "choose another --output")
