"""Which file goes where: from what a user names to pairs of source and target."""

import dataclasses
import errno
import gc
import glob
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath

from srcli.batch.events import Emit, FilesIgnored, FolderFailed
from srcli.batch.name_template import LONGEST_NAME, NameTemplate, parse_template
from srcli.batch.task_list import PathText, TaskList, TaskText, as_text, parse_text
from srcli.dataclass import dataclass
from srcli.errors import DatasetError, SrError, UsageError
from srcli.imaging.codecs.registry import READABLE_HINT, SUFFIXES, is_image, is_image_name
from srcli.storage.locations import (
    Location,
    RemotePath,
    canonicalize,
    canonicalize_all,
    exists,
    get_identity,
    is_many,
    list_files,
    make_absolute,
    strip_pattern,
)
from srcli.upscaling.task import UpscaleTask

_LONGEST_SHOWN = 200  # characters of a folder's name in a message
_MAX_SUFFIXES = 5


@dataclass
class SkippedEntries:
    """Entries that a listing skipped: files that are not images, and folders that cannot be listed."""

    count: int = 0
    suffixes: set[str] = field(default_factory=set)
    failures: list[SrError] = field(default_factory=list)

    def add_file(self, file: Location) -> None:
        """Count a file; the first few suffixes are remembered."""
        self.count += 1
        if len(self.suffixes) < _MAX_SUFFIXES:
            self.suffixes.add(file.suffix.lower() or file.name)

    def report(self, emit: Emit) -> None:
        """Emit `FolderFailed` for each folder, and `FilesIgnored` if there are any."""
        for error in self.failures:
            emit(FolderFailed(error))
        if self.count:
            emit(FilesIgnored(self.count, tuple(sorted(self.suffixes))))


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
    `scale`. With `find_model`, {model} is what that returns for the input. `suffix` is that of the format,
    None for the input's own. Without `output`, a folder's outputs go to a folder with `folder_suffix` after
    its name. `in_place`: the outputs replace the inputs.
    """

    output: Location | None = None
    name: str = "{stem}_x{scale}"
    scale: str = "4"
    model: str = ""
    find_model: Callable[[Location], str] | None = None
    suffix: str | None = None
    recursive: bool = False
    flat: bool = False
    folder_suffix: str = "_x4"
    in_place: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a template that means nothing or leaves the output folder."""
        assert self.template

    @cached_property
    def template(self) -> NameTemplate:
        """The parsed `name`."""
        return parse_template(self.name)

    @cached_property
    def is_one_file(self) -> bool:
        """True if `output` names a single file."""
        output = self.output
        if isinstance(output, RemotePath):
            return output.suffix.lower() in SUFFIXES  # bucket names may contain dots
        return output is not None and bool(output.suffix) and not output.is_dir()


@dataclasses.dataclass(frozen=True, slots=True)
class _Input:
    """An image file and the folder it was found in; `is_named`: by the user, not by a folder or a pattern."""

    file: PathText
    top: Location | None = None
    is_named: bool = True


@dataclass
class _TaskMaker:
    """Names the outputs of inputs. It remembers where those of a folder go: there may be very many files."""

    layout: Layout
    _folders: dict[tuple[str, Location | None], Location] = field(default_factory=dict)

    def make(self, listed: _Input) -> UpscaleTask:
        """Return the task of an input. Raises `UsageError` if there is no place for its output."""
        return TaskList([self.name(listed)])[0]

    def name(self, listed: _Input) -> TaskText:
        """Return the names of a task. Raises `UsageError` if there is no place for its output."""
        return TaskText(listed.file, self._name_target(listed.file, listed.top), listed.is_named)

    def _name_target(self, file: PathText, top: Location | None) -> PathText:
        layout = self.layout
        if layout.in_place:
            return file
        if layout.output and layout.is_one_file:
            return as_text(layout.output)
        stem, own_suffix = _split_suffix(os.path.basename(file) if isinstance(file, str) else file.name)
        values = {
            "stem": stem, "ext": own_suffix.removeprefix("."), "model": layout.model, "scale": layout.scale,
        }  # fmt: skip
        if layout.find_model and "model" in layout.template.fields:
            values["model"] = layout.find_model(parse_text(file))
        if "parent" in layout.template.fields:
            values["parent"] = make_absolute(parse_text(file)).parent.name
        name = layout.template.fill(values)
        suffix = layout.suffix or (own_suffix if own_suffix.lower() in SUFFIXES else ".png")
        inner, _, last = name.rpartition("/")
        folder = self._find_folder(file, top)
        if inner or isinstance(folder, RemotePath):
            return as_text(folder / inner / _shorten(last, suffix))
        return os.path.join(_get_prefix(folder), _shorten(last, suffix))

    def _find_folder(self, file: PathText, top: Location | None) -> Location:
        if isinstance(file, RemotePath):
            return _find_folder_of_remote(file, top, self.layout)
        parent = os.path.dirname(file)
        folder = self._folders.get((parent, top))
        if folder is None:
            folder = self._folders[parent, top] = _find_folder(parent, top, self.layout)
        return folder


def _get_prefix(folder: Path) -> str:
    """Return what the names of files in a folder begin with, which is nothing for the current one."""
    text = str(folder)
    return "" if text == "." else text


def _split_suffix(name: str) -> tuple[str, str]:
    """Return what `pathlib` calls stem and suffix, in a fraction of its time."""
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def plan_outputs(
    inputs: Sequence[Location], layout: Layout, skipped: SkippedEntries | None = None
) -> TaskList:
    """Return the tasks for files, folders and patterns, in order, each file once; in stores only for files.

    Tasks may have the same target: `OutputGuard` lets only the first of them write to it. Raises `UsageError`
    if there is nothing to do.
    """
    layout.check()
    with _pause_collector():
        return _plan_outputs(inputs, layout, skipped or SkippedEntries())


@contextmanager
def _pause_collector() -> Iterator[None]:
    """Pause the garbage collector: of 100,000 tasks nothing is garbage, and looking takes seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _plan_outputs(inputs: Sequence[Location], layout: Layout, skipped: SkippedEntries) -> TaskList:
    found: dict[str, _Input] = {}
    for given in inputs:
        listed = [_Input(given)] if isinstance(given, RemotePath) else _list_local(given, layout, skipped)
        for each in sorted(listed, key=_get_sort_key) if _is_local_folder(given) else listed:
            name = str(each.file)
            # One folder lists no file twice, and absolute names take a while to make.
            key = name if len(inputs) == 1 or isinstance(given, RemotePath) else os.path.abspath(name)
            found.setdefault(key, each)
    if layout.is_one_file and (len(found) > 1 or any(map(_is_local_folder, inputs))):
        raise UsageError(
            f"{layout.output} is one file, but there are several inputs", "name an output folder"
        )
    maker = _TaskMaker(layout)
    return TaskList(_put_own_suffixes_first([maker.name(each) for each in found.values()]))


def _put_own_suffixes_first(tasks: list[TaskText]) -> list[TaskText]:
    """Return the tasks so that a.png is written to a_x4.png, and a.pcx, which has the same target, is not."""
    if len({task.target for task in tasks}) == len(tasks):
        return tasks

    def has_own_suffix(task: TaskText) -> bool:
        source, target = parse_text(task.source), parse_text(task.target)
        return target.suffix.lower() == source.suffix.lower()

    taken = {task.target for task in tasks if has_own_suffix(task)}
    return sorted(tasks, key=lambda task: task.target in taken and not has_own_suffix(task))


def _get_sort_key(listed: _Input) -> str:
    """Return text that sorts like paths, folder by folder; comparing paths takes ten times as long."""
    assert isinstance(listed.file, str)
    return listed.file.replace(os.sep, "\0")


def iterate_tasks(
    inputs: Sequence[Location], layout: Layout, skipped: SkippedEntries | None = None
) -> Iterator[ListedTask]:
    """Yield the tasks for any number of images as they are listed, in no particular order.

    The caller makes sure that each source and each target appears once.
    """
    layout.check()
    skipped = skipped or SkippedEntries()
    if layout.is_one_file:
        raise UsageError(f"{layout.output} is one file, but a job may have many", "name an output folder")
    maker = _TaskMaker(layout)
    for given in inputs:
        if isinstance(given, RemotePath):
            yield from _iterate_store(given, maker, skipped)
            continue
        for each in _list_local(given, layout, skipped):
            yield ListedTask(maker.make(each), get_identity(parse_text(each.file)))


def _iterate_store(given: RemotePath, maker: _TaskMaker, skipped: SkippedEntries) -> Iterator[ListedTask]:
    layout = maker.layout
    if not is_many(given):
        yield ListedTask(maker.make(_Input(given)), get_identity(given))
        return
    # What a pattern matches is named like files that were named one by one.
    top = given if given == strip_pattern(given) else None
    count = 0
    for file in list_files(given, layout.recursive, layout.output):
        if is_image(file.location):
            count += 1
            yield ListedTask(maker.make(_Input(file.location, top, is_named=False)), file.identity)
        elif not file.location.name.startswith("."):
            skipped.add_file(file.location)
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
        file: _Input(str(file), folder, is_named=False)
        for folder in reversed(folders)
        for file in list_images(folder, layout.recursive, _as_path(_find_output_root(folder, layout)))
    }
    maker = _TaskMaker(layout)
    return [maker.make(each) for _, each in sorted(sources.items())]


def _list_local(given: Path, layout: Layout, skipped: SkippedEntries) -> Iterator[_Input]:
    """Yield the image files of a folder, those that a pattern matches, or the named file."""
    if _is_folder(given):
        file, failures = None, len(skipped.failures)
        output = _as_path(_find_output_root(given, layout))
        try:
            for file in _iterate_names(given, layout.recursive, output, skipped):
                yield _Input(file, given, is_named=False)
        except DatasetError as error:
            skipped.failures.append(error)
        if file is None and len(skipped.failures) == failures:
            hint = "" if layout.recursive else ", or search subfolders with -r"
            raise UsageError(f"no images in {given}", f"name a folder of image files{hint}")
    elif not os.path.lexists(given) and glob.has_magic(str(given)):
        matches = expand_pattern(given)
        if not matches:
            raise UsageError(f"no file matches {given}", READABLE_HINT)
        for path in matches:
            if path.is_dir():
                yield from _list_local(path, layout, skipped) if layout.recursive else ()
            else:
                yield _Input(str(path), is_named=False)
    else:
        yield _Input(str(given))


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
    folder: Path, recursive: bool, without: Path | None = None, skipped: SkippedEntries | None = None
) -> Iterator[Path]:
    """Yield what `list_images` returns, unsorted, without holding all names.

    `skipped` gets the other files, except hidden ones, and folders below `folder` that cannot be listed.
    Raises `DatasetError` if `folder` itself cannot be listed.
    """
    return map(Path, _iterate_names(folder, recursive, without, skipped or SkippedEntries()))


def _iterate_names(
    folder: Path, recursive: bool, without: Path | None, skipped: SkippedEntries
) -> Iterator[str]:
    seen, folders = set[str](), [folder]
    excluded = os.path.realpath(without) if without else None
    while folders:
        base = folders.pop()
        real = os.path.realpath(base)
        if real in seen or real == excluded:
            continue
        seen.add(real)
        try:
            for entry in _scan(base):
                if entry.name.startswith("."):
                    continue
                is_folder, is_file = _classify(entry)
                if is_folder:
                    folders += [base / entry.name] if recursive else []
                elif is_file and is_image_name(entry.name):
                    yield os.path.join(_get_prefix(base), entry.name)
                elif is_file:
                    skipped.add_file(base / entry.name)
        except DatasetError as error:
            if base == folder:
                raise
            skipped.failures.append(error)


def _classify(entry: "os.DirEntry[str]") -> tuple[bool, bool]:
    """Return whether an entry is a folder, and whether it is a file.

    A link to itself or to nothing counts as a file, whose reading will fail.
    """
    try:
        is_lost = entry.is_symlink() and not os.path.exists(entry.path)
        return entry.is_dir(), is_lost or entry.is_file()
    except OSError:
        return False, True


def _scan(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        name = str(folder)
        if len(name) > _LONGEST_SHOWN:
            name = f"{name[: _LONGEST_SHOWN // 2]}...{name[-_LONGEST_SHOWN // 2 :]}"
        hint = "use a shorter path" if error.errno == errno.ENAMETOOLONG else "check its permissions"
        raise DatasetError(f"cannot list {name}: {error.strerror}", hint) from error


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


def _find_folder_of_remote(file: RemotePath, top: Location | None, layout: Layout) -> Location:
    if layout.output is None:
        raise UsageError(f"{file} is remote, so --output is required", "name a folder or a file")
    mirrors = isinstance(top, RemotePath) and not layout.flat
    inner = file.relative_to(top).parent if isinstance(top, RemotePath) and mirrors else PurePosixPath()
    return layout.output / inner


def _find_folder(parent: str, top: Location | None, layout: Layout) -> Location:
    """Return the folder for outputs of images in `parent`; it mirrors the input tree unless `flat`."""
    if not isinstance(top, Path):
        return layout.output or Path(parent)
    root = layout.output or _find_output_root(top, layout) or Path(parent)
    return root if layout.flat else root / Path(parent).relative_to(top)


def _shorten(name: str, suffix: str) -> str:
    """Return a name that file systems accept; a cut one ends with a hash so that it stays distinct."""
    if 4 * (len(name) + len(suffix)) <= LONGEST_NAME:  # a character has four bytes at most
        return name + suffix
    whole = os.fsencode(name + suffix)
    if len(whole) <= LONGEST_NAME:
        return name + suffix
    ending = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    start = os.fsencode(name)[: LONGEST_NAME - len(os.fsencode(ending))]
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

    `inputs` that are known in advance; others are added as they are checked. `in_place`: each output replaces
    its own input.
    """

    inputs: Iterable[PathText] = ()
    in_place: bool = False
    _checked: list[Location] = field(default_factory=list)
    _owners: dict[Location, Location] = field(default_factory=dict)
    _resolved: set[str] = field(default_factory=set)

    def check(self, task: UpscaleTask) -> None:
        """Raise `SrError` if the target is an input or another task's target."""
        self._checked.append(task.source)
        owner = self._owners.setdefault(task.target, task.source)
        if owner != task.source:
            both = f"{owner} and {task.source}"
            raise SrError(f"{both} would both be written to {task.target}", suggest_name(owner, task.source))
        if self.in_place or not exists(task.target):
            return
        target = canonicalize(task.target)
        if target == canonicalize(task.source):
            raise SrError(f"{task.target} is the input itself", "choose another --output")
        # Resolved only now: a batch of new outputs starts without looking up every input.
        self._resolved |= canonicalize_all(chain(self.inputs, self._checked))
        self.inputs = ()
        self._checked.clear()
        if target in self._resolved:
            raise SrError(f"{task.target} is also an input", "choose another --output")


def check_not_input(task: UpscaleTask) -> None:
    """Raise `SrError` if the target is the source itself."""
    if canonicalize(task.source) == canonicalize(task.target):
        raise SrError(f"{task.target} is the input itself", "choose another --output")
