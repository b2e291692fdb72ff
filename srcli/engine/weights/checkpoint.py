"""Reading of weight files of any trainer: the format by content, the tensors by rule, and never any code."""

import argparse
import io
import json
import os
import pickle
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakValueDictionary

import numpy as np

from srcli.dataclass import dataclass
from srcli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]

# Larger than any published network for upscaling by far.
LARGEST_FILE = 8 * 2**30
# Bytes of the JSON at the start of a safetensors file: about 100 for each tensor.
LARGEST_HEADER = 2**22
# Bytes of the pickle that names the tensors: so many at least, and for each tensor of an archive.
_PICKLE_BYTES, _PICKLE_BYTES_EACH = 2**21, 2**12
# Weights hardly compress, and few files are compressed at all.
_LARGEST_GROWTH = 20
# How deep and wide to look for tensors in what a trainer saved.
_DEEPEST, _MOST_VALUES = 12, 500_000
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_FORMATS_HINT = "give a .safetensors, .pth or .pt file"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of a weight file by key, and how they were chosen if the file holds more than them.

    `taken`: a message such as "took params_ema of params and params_ema"; empty if there was no choice.
    """

    path: Path
    state: State
    taken: str = ""


# Those that are held, by path, time and size.
_held: "WeakValueDictionary[tuple[str, int, int], Checkpoint]" = WeakValueDictionary()
_kept: list[Checkpoint] = []


@contextmanager
def hold_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Read a weight file once for all that is done inside: `read_checkpoint` returns it again.

    Identifying, checking and converting a file each need its tensors. Raises like `read_checkpoint`.
    """
    found = read_checkpoint(path)
    yield found
    del found  # until here, `_held` finds it


def keep_checkpoint(path: Path) -> Checkpoint:
    """Read a weight file that is loaded soon; until `release_checkpoints`, it is not read again."""
    found = read_checkpoint(path)
    _kept.append(found)
    return found


def release_checkpoints() -> None:
    """Free what `keep_checkpoint` keeps."""
    _kept.clear()


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the tensors of a safetensors file or a PyTorch checkpoint; code is never unpickled.

    Raises `WeightsError` in one line for everything else.
    """
    status = check_file(path)
    key = (os.path.realpath(path), status.st_mtime_ns, status.st_size)
    found = _held.get(key)
    if found is None:
        found = _held[key] = _read(path)
    return found


def _read(path: Path) -> Checkpoint:
    kind = identify_format(path)
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickled(path, kind)
    state, taken = choose_tensors(content)
    if not state:
        raise WeightsError(f"{path} holds no named tensors", "give a state_dict or a safetensors file")
    if not all(key.isprintable() for key in state):
        raise WeightsError(f"{path} has control characters in names of tensors", _FORMATS_HINT)
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > _LARGEST_GROWTH * path.stat().st_size:
        raise WeightsError(
            f"{path} has tensors of {claimed:,} bytes, more than it can hold", "the file is damaged"
        )
    return Checkpoint(path, state, taken)


def check_file(path: Path) -> os.stat_result:
    """Return the status of a file. Raises `WeightsError` unless it is a regular one of a sensible size."""
    try:
        status = path.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "does not exist" if missing else f"cannot be read: {error.strerror}"
        raise WeightsError(f"{path} {reason}", "check its path") from error
    except ValueError as error:  # a null character
        raise WeightsError(f"{str(path)!r} is not a path", "check its path") from error
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{path} is not a regular file", _FORMATS_HINT)
    if status.st_size > LARGEST_FILE:
        size = f"{status.st_size / 2**30:,.0f} GiB"
        raise WeightsError(
            f"{path} is too large for weights: {size}", f"at most {LARGEST_FILE // 2**30} GiB are read"
        )
    return status


def identify_format(path: Path) -> str:
    """Return safetensors, zip or pickle: what the content is, whatever the name.

    Raises `WeightsError` that says what other files are.
    """
    with _open(path) as file:
        start = file.read(4096)
    if start[:2] == b"PK":
        return "zip"
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**40:
        return "safetensors"
    if start[:2] in _PICKLE_STARTS:
        return "pickle"
    what, hint = _describe_content(start)
    raise WeightsError(f"{path} {what}", hint)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def _describe_content(start: bytes) -> tuple[str, str]:
    """Return what a file is that is no weight file, and a hint."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for begins, what, hint in _KNOWN_CONTENT:
        if start.startswith(begins) or text.startswith(begins):
            return what, hint
    if not start:
        return "is empty", "download it again"
    return "is a text file, not weights" if _is_text(start) else "is not a weight file", _FORMATS_HINT


_PAGE_HINT = "download the file behind the page: look for a link named raw"
_KNOWN_CONTENT: list[tuple[tuple[bytes, ...], str, str]] = [
    ((b"<!doctype html", b"<html", b"<head", b"<?xml"), "is a web page, not weights", _PAGE_HINT),
    (
        (b"version https://git-lfs",),
        "is a Git LFS pointer, not the weights",
        "run `git lfs pull` in its repository, or download the file itself",
    ),
    ((b"\x93NUMPY",), "is a NumPy array, not weights", _FORMATS_HINT),
    ((b"\x89HDF\r\n\x1a\n",), "is an HDF5 file, as Keras writes them", "convert it to safetensors first"),
]


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # not a character that is merely cut
            return False
        text = start[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for anything else. Needs no torch."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return {}
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= LARGEST_HEADER else {}
        metadata = header.get("__metadata__", {})
        return {str(key): str(value) for key, value in metadata.items()}
    except (OSError, struct.error, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with _open(path) as file:
        (length,) = struct.unpack("<Q", file.read(8))
    if length > LARGEST_HEADER:
        raise WeightsError(f"{path} has a header of {length:,} bytes", f"at most {LARGEST_HEADER:,} are read")
    try:
        return load_file(path)
    except (SafetensorError, RuntimeError, OSError, ValueError, LookupError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return WeightsError(f"{path} is damaged: {reason[:200]}", "download it again")


def _read_pickled(path: Path, kind: str) -> Any:
    """Return what torch.save wrote: tensors, containers and numbers. Tensors of archives are read lazily."""
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_list_harmless()):
            # torch asks to report unusual pickle protocols; what it cannot read safely it refuses anyway.
            warnings.simplefilter("ignore")
            # Only a path can be mapped, and only if torch does not take it for safetensors by its name.
            if kind == "zip" and _check_archive(path) and path.suffix != ".safetensors":
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with _open(path) as file:
                source: Any = file if kind == "zip" else _LimitedFile(file)
                return torch.load(source, map_location="cpu", weights_only=True)
    except _TooMuch as error:
        raise WeightsError(f"{path} {error}; not loaded", "ask its author for a safetensors file") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects, which could run code; not loaded",
            "ask its author for a state_dict or a safetensors file",
        ) from error
    except (RuntimeError, OSError, ValueError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    except (struct.error, MemoryError, OverflowError, AssertionError, RecursionError) as error:
        raise _damaged(path, error) from error


class _TooMuch(Exception):  # noqa: N818 (it is turned into a WeightsError at once)
    """A file would take far more memory than its tensors."""


def _check_archive(path: Path) -> bool:
    """Return whether tensors can be mapped into memory, as nothing in the archive is compressed.

    Raises `WeightsError` for an archive that holds no checkpoint, `_TooMuch` for one that would fill the
    memory when it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _damaged(path, error) from error
    names = {member.filename.partition("/")[2] for member in members}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise WeightsError(
            f"{path} is a TorchScript program, not a state_dict", "ask its author for a state_dict"
        )
    if "data.pkl" not in names:
        raise WeightsError(f"{path} is an archive without weights", _FORMATS_HINT)
    unpacked = sum(member.file_size for member in members)
    if unpacked > _LARGEST_GROWTH * path.stat().st_size:
        raise _TooMuch(f"would unpack to {unpacked:,} bytes")
    pickled = sum(member.file_size for member in members if member.filename.endswith("/data.pkl"))
    if pickled > _PICKLE_BYTES + _PICKLE_BYTES_EACH * len(members):
        raise _TooMuch(f"holds {pickled:,} bytes of Python objects")
    return all(member.compress_type == zipfile.ZIP_STORED for member in members)


class _LimitedFile(io.RawIOBase):
    """A file in torch's old format: pickles are read only up to a limit; tensors go through `readinto`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, _PICKLE_BYTES

    def read(self, size: int | None = -1) -> bytes:
        return self._count(self.file.read(self._limit(size)))

    def readline(self, size: int | None = -1) -> bytes:
        return self._count(self.file.readline(self._limit(size)))

    def _limit(self, size: int | None) -> int:
        if size is not None and size > self.left:
            raise _TooMuch(f"holds more than {_PICKLE_BYTES:,} bytes of Python objects")
        return self.left + 1 if size is None or size < 0 else size

    def _count(self, data: bytes) -> bytes:
        self.left -= len(data)
        if self.left < 0:
            raise _TooMuch(f"holds more than {_PICKLE_BYTES:,} bytes of Python objects")
        return data

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _make_scalar(kind: Any, data: Any = b"") -> Any:
    """Return the NumPy number that a pickle holds; nothing else has bytes for its value."""
    if not isinstance(kind, np.dtype) or kind.kind not in "biufc":
        raise pickle.UnpicklingError("GLOBAL: only NumPy's numbers are read")
    return np.frombuffer(data if isinstance(data, bytes) else data.encode("latin1"), kind)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes that an old pickle holds as text, as `_codecs.encode` would; nothing but latin1."""
    return text.encode("latin1")


def _list_harmless() -> list[Any]:
    """List what trainers save beside tensors and what cannot run code, by the names that pickles have."""
    numbers = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
    return [
        (_make_scalar, "numpy.core.multiarray.scalar"),
        (_make_scalar, "numpy._core.multiarray.scalar"),
        (_encode, "_codecs.encode"),
        (np.dtype, "numpy.dtype"),
        *numbers,
        *{type(np.dtype(number)) for number in numbers},
        argparse.Namespace,
    ]


# Words in the names of weights that are averaged over training, which are the better ones.
_AVERAGED = re.compile(r"(^|[._\- ])(ema|averaged?|swa)([._\- ]|\d*$)", re.IGNORECASE)
# Parts of a training run that are no upscaler. As whole words: "loss" but not "lossless".
_FOREIGN = re.compile(
    r"(^|[._])(net_?d|disc|discriminators?|critic|loss(es)?|[a-z0-9]+_loss|criterion|criteria|perceptual|"
    r"vgg\d*|lpips|optimizers?(_\w+)?|optim(_\w+)?|optimizer_states|lr_schedulers?|schedulers?|scaler|metrics?)"
    r"([._]|$)",
    re.IGNORECASE,
)
# Counters beside averaged weights.
_COUNTERS = ("n_averaged", "initted", "step", "num_updates")
# What the upscaler is called among several networks in one dictionary.
_UPSCALER = re.compile(
    r"^(net_?g|gen|generator|model_?g)(_?ema)?$|^(ema_?)?(model|net|network|params|student)(_?ema)?$",
    re.IGNORECASE,
)


def choose_tensors(content: Any) -> tuple[State, str]:
    """Return the tensors of the upscaler in what a trainer saved, and a message on the choice.

    The dictionary with the most tensors counts, whatever its name and depth, but averaged weights (EMA) come
    first, and discriminators, losses and optimisers last. Returns no tensors if there are none.
    """
    found = [(place, state) for place, state in _list_states(content) if state]
    if not found:
        return {}, ""
    place, state = _choose_state(found)
    chosen, part = _choose_part(state)
    notes = []
    if place and len(found) > 1:
        others = [other or "the top level" for other, _ in found if other != place]
        notes.append(f"took {place}, not {_join(others)}")
    if part:
        notes.append(part)
    return chosen, "; ".join(notes)


def _join(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _list_states(content: Any) -> Iterator[tuple[str, State]]:
    """Yield each dictionary that has tensors by name, with its place such as `state.model`."""
    import torch

    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    seen: set[int] = set()
    values = 0
    while waiting:
        place, depth, value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        items = _list_items(value)
        values += len(items)
        if values > _MOST_VALUES:
            return
        if isinstance(value, Mapping):
            yield (
                place,
                {key: each for key, each in items if isinstance(key, str) and isinstance(each, torch.Tensor)},
            )
        if depth < _DEEPEST:
            waiting += [
                (f"{place}.{key}".lstrip("."), depth + 1, each)
                for key, each in items
                if isinstance(each, Mapping | list | tuple | argparse.Namespace)
            ]


def _list_items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, argparse.Namespace):
        return list(vars(value).items())
    return list(enumerate(value)) if isinstance(value, list | tuple) else []


def _choose_state(found: list[tuple[str, State]]) -> tuple[str, State]:
    """Return the dictionary of the upscaler."""
    own = [each for each in found if not _FOREIGN.search(each[0])] or found
    most = max(len(state) for _, state in own)
    averaged = [each for each in own if _AVERAGED.search(each[0]) and 10 * len(each[1]) >= 9 * most]
    return max(averaged or own, key=lambda each: len(each[1]))


def _choose_part(state: State) -> tuple[State, str]:
    """Return the tensors of the upscaler if a dictionary holds several networks, and a message on it."""
    parts: dict[str, State] = {}
    for key, value in state.items():
        if key in _COUNTERS:
            continue
        parts.setdefault(key.partition(".")[0], {})[key] = value
    named = [name for name in parts if _UPSCALER.match(name)]
    if named and len(parts) > 1:
        averaged = [name for name in named if _AVERAGED.search(name)]
        part = max(averaged or named, key=lambda name: len(parts[name]))
        if len(named) > 1 or any(map(_FOREIGN.search, parts)):
            return parts[part], f"took {part}.*, not {_join([name for name in parts if name != part])}"
    foreign = [name for name in parts if _FOREIGN.match(name)]
    if foreign and len(foreign) < len(parts):
        kept = {key: value for name in parts if name not in foreign for key, value in parts[name].items()}
        return kept, f"left out {_join([f'{name}.*' for name in foreign])}"
    return {key: value for part in parts.values() for key, value in part.items()}, ""


def strip_prefixes(state: State) -> Iterator[tuple[str, State]]:
    """Yield the tensors as they are, and then without each prefix that all their keys have.

    The first item is what was stripped: an empty text, `netG.`, `netG._orig_mod.` and so on. Which of them is
    right depends on the network, as all keys of some begin alike.
    """
    stripped = ""
    for _ in range(_DEEPEST):
        yield stripped, state
        prefix = next(iter(state)).partition(".")[0] + "."
        if not all(key.startswith(prefix) and len(key) > len(prefix) for key in state):
            return
        stripped += prefix
        state = {key[len(prefix) :]: value for key, value in state.items()}
