"""Which file goes where: from what a user names to pairs of source and target."""

import glob
import hashlib
import os
import string
import sys
from collections.abc import Callable, Iterator, Sequence
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
    make_absolute,
    strip_pattern,
)
from srcli.upscaling.task import UpscaleTask
from srcli.workers.progress import ignore

_LONGEST_NAME = 255  # bytes, on all common file systems
_FIELDS = ("stem", "ext", "parent", "model", "scale")
# Called with each file of a folder that is not an image.
OnIgnored = Callable[[Location], None]


@dataclass(frozen=True)
class ListedTask:
    """A task and the identity of its source, which changes with the file."""

    task: UpscaleTask
    identity: str


@dataclass(frozen=True)
class Layout:
    """The location and the names of outputs.

    `output` is a file or a folder, None for next to the input; `name` a template of {stem}, {ext} and
    {parent} (the input's name, suffix without dot, and folder), {model} and {scale}, which are `model` and
    `scale`. `suffix` is that of the format, None for the input's own. Without `output`, a folder's outputs go
    to a folder with `folder_suffix` after its name. `in_place`: the outputs replace the inputs.
    """

    output: Location | None = None
    name: str = "{stem}_x{scale}"
    scale: str = "4"
    model: str = ""
    suffix: str | None = None
    recursive: bool = False
    flat: bool = False
    folder_suffix: str = "_x4"
    in_place: bool = False

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


@dataclass(frozen=True)
class _Input:
    """An image file and the folder it was found in; `is_named`: by the user, not by a folder or a pattern."""

    file: Location
    top: Location | None = None
    is_named: bool = True

    def make_task(self, layout: Layout) -> UpscaleTask:
        target = _make_target(self.file, self.top, layout)
        return UpscaleTask(self.file, target, is_named=self.is_named)


def plan_outputs(
    inputs: Sequence[Location], layout: Layout, on_ignored: OnIgnored = ignore
) -> list[UpscaleTask]:
    """Return the tasks for files, folders and patterns, in order, each file once; in stores only for files.

    Tasks may have the same target: `OutputGuard` lets only the first of them write to it. Raises `UsageError`
    if there is nothing to do.
    """
    layout.check()
    found: dict[Location, _Input] = {}
    for given in inputs:
        listed = [_Input(given)] if isinstance(given, RemotePath) else _list_local(given, layout, on_ignored)
        for each in sorted(listed, key=lambda each: each.file) if _is_local_folder(given) else listed:
            found.setdefault(make_absolute(each.file), each)
    if layout.is_one_file and (len(found) > 1 or any(map(_is_local_folder, inputs))):
        raise UsageError(
            f"{layout.output} is one file, but there are several inputs", "name an output folder"
        )
    return [each.make_task(layout) for each in found.values()]


def iterate_tasks(
    inputs: Sequence[Location], layout: Layout, on_ignored: OnIgnored = ignore
) -> Iterator[ListedTask]:
    """Yield the tasks for any number of images as they are listed, in no particular order.

    The caller makes sure that each source and each target appears once.
    """
    layout.check()
    if layout.is_one_file:
        raise UsageError(f"{layout.output} is one file, but a job may have many", "name an output folder")
    for given in inputs:
        if isinstance(given, RemotePath):
            yield from _iterate_store(given, layout, on_ignored)
            continue
        for each in _list_local(given, layout, on_ignored):
            yield ListedTask(each.make_task(layout), get_identity(each.file))


def _iterate_store(given: RemotePath, layout: Layout, on_ignored: OnIgnored) -> Iterator[ListedTask]:
    if not is_many(given):
        yield ListedTask(_Input(given).make_task(layout), get_identity(given))
        return
    # What a pattern matches is named like files that were named one by one.
    top = given if given == strip_pattern(given) else None
    count = 0
    for file in list_files(given, layout.recursive, layout.output):
        if is_image(file.location):
            count += 1
            yield ListedTask(_Input(file.location, top, is_named=False).make_task(layout), file.identity)
        elif not file.location.name.startswith("."):
            on_ignored(file.location)
    if not count:
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
    sources = {
        file: _Input(file, folder, is_named=False)
        for folder in reversed(folders)
        for file in list_images(folder, layout.recursive, _as_path(_find_output_root(folder, layout)))
    }
    return [each.make_task(layout) for _, each in sorted(sources.items())]


def _list_local(given: Path, layout: Layout, on_ignored: OnIgnored) -> Iterator[_Input]:
    """Yield the image files of a folder, those that a pattern matches, or the named file."""
    if _is_folder(given):
        file = None
        output = _as_path(_find_output_root(given, layout))
        for file in iterate_images(given, layout.recursive, output, on_ignored):
            yield _Input(file, given, is_named=False)
        if file is None:
            hint = "" if layout.recursive else ", or search subfolders with -r"
            raise UsageError(f"no images in {given}", f"name a folder of image files{hint}")
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        matches = expand_pattern(given)
        if not matches:
            raise UsageError(f"no file matches {given}", f"readable: {' '.join(READABLE_SUFFIXES)}")
        for path in matches:
            if path.is_dir():
                yield from _list_local(path, layout, on_ignored) if layout.recursive else ()
            else:
                yield _Input(path, is_named=False)
    else:
        yield _Input(given)


def expand_pattern(pattern: Path) -> list[Path]:
    """Return the files and folders that match, sorted; a component that exists literally is no pattern."""
    found = [Path(pattern.anchor)]
    for part in pattern.parts[bool(pattern.anchor) :]:
        found = list(dict.fromkeys(match for base in found for match in _match_component(base, part)))
    return sorted(found)


def _match_component(base: Path, part: str) -> Iterator[Path]:
    if os.path.lexists(base / part):
        yield base / part
    elif glob.has_magic(part):
        if part == "**":
            yield base
        yield from (base / name for name in glob.iglob(part, root_dir=base, recursive=True))


def _is_local_folder(given: Location) -> bool:
    return isinstance(given, Path) and _is_folder(given)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the name is too long
        return False


def list_images(folder: Path, recursive: bool, without: Path | None = None) -> list[Path]:
    """Return the image files in a folder, sorted. Links to folders are followed once; skips `without`."""
    return sorted(iterate_images(folder, recursive, without))


def iterate_images(
    folder: Path, recursive: bool, without: Path | None = None, on_ignored: OnIgnored = ignore
) -> Iterator[Path]:
    """Yield what `list_images` returns, unsorted, without holding all names.

    `on_ignored` gets the other files, except hidden ones.
    """
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
            elif entry.name.startswith(".") or not entry.is_file():
                continue
            elif is_image(path):
                yield path
            else:
                on_ignored(path)


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
    if layout.in_place:
        return None
    if layout.output is not None:
        return None if _is_same(layout.output, source) else layout.output
    named = source if source.name not in ("", "..") else source.resolve()
    return named.parent / f"{named.name}{layout.folder_suffix}"


def _make_target(file: Location, top: Location | None, layout: Layout) -> Location:
    if layout.in_place:
        return file
    if layout.output and layout.is_one_file:
        return layout.output
    name = layout.name.format(
        stem=file.stem,
        ext=file.suffix.removeprefix("."),
        parent=make_absolute(file).parent.name,
        model=layout.model,
        scale=layout.scale,
    )
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


def suggest_name(a: Location, b: Location) -> str:
    """Return a hint for two inputs that would be written to the same file."""
    for field_name, one, other in (
        ("parent", make_absolute(a).parent.name, make_absolute(b).parent.name),
        ("ext", a.suffix, b.suffix),
    ):
        if one != other:
            template = "{stem}_{ext}" if field_name == "ext" else "{parent}_{stem}"
            return f'tell them apart by {{{field_name}}}, as in --name "{template}_x{{scale}}"'
    return "rename one of them"


@dataclass
class OutputGuard:
    """Prevents outputs from overwriting inputs or each other; remembers both.

    `in_place`: each output replaces its own input.
    """

    sources: set[str] = field(default_factory=set)
    owners: dict[Location, Location] = field(default_factory=dict)
    in_place: bool = False

    def check(self, task: UpscaleTask) -> None:
        """Raise `SrError` if the target is an input or another task's target."""
        source, target = canonicalize(task.source), task.target
        self.sources.add(source)
        if self.owners.setdefault(target, task.source) != task.source:
            both = f"{self.owners[target]} and {task.source}"
            raise SrError(
                f"{both} would both be written to {target}", suggest_name(self.owners[target], task.source)
            )
        if self.in_place or not exists(target):
            return
        if canonicalize(target) == source:
            raise SrError(f"{target} is the input itself", "choose another --output")
        if canonicalize(target) in self.sources:
            raise SrError(f"{target} is also an input", "choose another --output")


def check_not_input(task: UpscaleTask) -> None:
    """Raise `SrError` if the target is the source itself."""
    if canonicalize(task.source) == canonicalize(task.target):
        raise SrError(f"{task.target} is the input itself", "choose another --output")
