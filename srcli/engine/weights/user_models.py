"""The user's own models: weight files copied or downloaded into a folder, and named in a manifest there."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srcli import manifest
from srcli.archs import Spec, paper
from srcli.engine.weights import download, files, ncnn, onnx, value_check
from srcli.engine.weights.checkpoint import hold_checkpoint
from srcli.errors import FileError, SrError, UsageError, WeightsError
from srcli.manifest import FOREIGN, Entry, UserFile
from srcli.scales import ANY, format_scale
from srcli.storage.files import replace_atomically
from srcli.storage.hashing import sha256

# Finds the scale of a file that is of no network of ours, but that a library runs.
FindScale = Callable[[Path], int | None]
# Bytes of a description from OpenModelDB; those that there are have a few thousand.
_LARGEST_DESCRIPTION = 2**20


@dataclass(frozen=True)
class ModelSource:
    """Where a model's weights are: a file or addresses, of which the first that works is used.

    `digest`: the SHA-256 that the file must have, if known; `scale`: the one it must have, or is to be taken
    for if it could be for several; `licence`: an SPDX name.
    """

    places: tuple[str, ...]
    name: str
    digest: str | None = None
    scale: int | None = None
    licence: str = "unknown"


def read_description(path: Path) -> ModelSource:
    """Read a model's JSON file of OpenModelDB, https://github.com/OpenModelDB/open-model-database.

    Raises `WeightsError` if it is no such file, or names no file that sr runs.
    """
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            raise ValueError("too large")
        raw = json.loads(path.read_text("utf-8"))
        kinds = ("safetensors", "pth", "ckpt", "onnx")
        found = next(each for kind in kinds for each in raw["resources"] if each["type"] == kind)
        places = tuple(url for url in found["urls"] if str(url).startswith("http"))
        digest, scale, licence = found.get("sha256"), raw["scale"], raw.get("license")
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", "check --entry") from error
    except StopIteration as error:
        raise WeightsError(
            f"{path} names no PyTorch, safetensors or ONNX file", "sr runs only these"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path} does not describe a model of OpenModelDB", "check --entry") from error
    if type(scale) is not int or not (digest is None or re.fullmatch("[0-9a-fA-F]{64}", str(digest))):
        raise WeightsError(f"{path} has a bad scale or SHA-256", "check --entry")
    licence = licence if isinstance(licence, str) and licence.isprintable() and licence else "unknown"
    return ModelSource(places, path.stem, digest and digest.lower(), scale, licence)


def add_model(
    source: ModelSource, progress: Callable[[int, int | None], None], find_scale: FindScale
) -> Entry:
    """Copy or download a model's weights and enter them under its name; return the entry.

    `progress` receives the bytes downloaded and of the whole, if known; `find_scale` is for files that are of
    no network of ours, and raises `SrError` for those that nothing runs. Raises `SrError` if the file is not
    what it should be or fits no network; nothing is kept then but the part of a download.
    """
    name = manifest.normalise_name(source.name)
    _check_name(name)
    folder = manifest.find_user_folder()
    errors: list[SrError] = []
    for place in source.places:
        try:
            return _add_from(place, replace(source, name=name), folder, progress, find_scale)
        except (WeightsError, FileError) as error:
            errors.append(error)
    if errors:
        raise errors[0]
    raise UsageError("no weights given", "give a file or an address")


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", name):
        raise UsageError(f"{name!r} cannot be a model's name", "use letters, digits, dots and hyphens")
    if name in {entry.model for entry in manifest.load_own()}:
        raise UsageError(f"sr has a model called {name}", "choose another --name")


def _add_from(
    place: str,
    source: ModelSource,
    folder: Path,
    progress: Callable[[int, int | None], None],
    find_scale: FindScale,
) -> Entry:
    is_remote = place.startswith(("http://", "https://"))
    if is_remote and _read_suffix(place) in (".param", ".bin"):
        raise UsageError(f"{place} is half of an ncnn pair", "download both files, and add the .param file")
    file = download.download(place, folder, source.digest, progress) if is_remote else Path(place)
    try:
        file = _name_by_content(file, place) if is_remote else file
        digest = sha256(file)
        if source.digest not in (None, digest):
            raise WeightsError(f"{place}: its SHA-256 is {digest}, not {source.digest}", "it was not added")
        pair = ncnn.find_pair(file)
        file = pair or file
        spec = _identify(file, source.scale, find_scale)
        entry = _make_entry(place, source, spec, file)
        if entry.name in {each.name for each in manifest.load_user()}:
            raise UsageError(f"{entry.name} exists", f"`sr models remove {entry.name}` first")
        for path, target in list_files(file, folder / _name_of(entry)):
            with replace_atomically(target) as temporary:
                if is_remote:
                    path.replace(temporary)
                else:
                    shutil.copyfile(path, temporary)
    finally:
        if is_remote:
            file.unlink(missing_ok=True)
    _write_manifest([*manifest.load_user(), entry])
    return entry


def _name_by_content(part: Path, place: str) -> Path:
    """Return a downloaded file under a name that says that it is a graph, if it is."""
    suffix = _read_suffix(place)
    return part.rename(part.with_suffix(suffix)) if suffix in onnx.SUFFIXES else part


def _read_suffix(place: str) -> str:
    return Path(place.partition("?")[0]).suffix.lower()


def list_files(path: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the file, or both files of a pair, each with its counterpart beside `target`."""
    suffixes = (".param", ".bin") if path.suffix == ".param" else (path.suffix,)
    return [
        (path.with_suffix(each), target.with_suffix(each) if len(suffixes) > 1 else target)
        for each in suffixes
    ]


def _name_of(entry: Entry) -> str:
    assert isinstance(entry.file, UserFile)
    return entry.file.name


def _identify(file: Path, scale: int | None, find_scale: FindScale) -> Spec:
    """Return the network of a file, or the library that runs it in place of a network's name."""
    if onnx.is_graph(file):
        return _check_scale(file, Spec(FOREIGN[2], find_scale(file) or 0), scale)
    if file.suffix == ".param":
        known = files.read_spec(file)
        if known:
            files.load_network(file, known)
        return _check_scale(file, known or Spec(FOREIGN[0], find_scale(file) or 0), scale)
    with hold_checkpoint(file):
        specs = files.identify_specs(file)
        if not specs:
            return _check_scale(file, Spec(FOREIGN[1], find_scale(file) or 0), scale)
        fitting = [spec for spec in specs if scale in (None, spec.scale) or spec.scale == ANY]
        if not fitting:
            fits = ", ".join(map(str, specs))
            raise WeightsError(f"{file} is not for x{scale}: it fits {fits}", "check --scale")
        if len(fitting) > 1:
            fits = ", ".join(map(str, fitting))
            raise UsageError(f"{file} could be any of {fits}", "give its scale with --scale")
        files.load_network(file, fitting[0])
        return value_check.settle_values(file, fitting[0])[0]


def _check_scale(file: Path, spec: Spec, scale: int | None) -> Spec:
    if scale not in (None, spec.scale):
        raise WeightsError(f"{file} is for x{spec.scale}, not for x{scale}", "check --scale")
    return spec


def _make_entry(place: str, source: ModelSource, spec: Spec, file: Path) -> Entry:
    suffix = file.suffix if file.suffix in (".param", *onnx.SUFFIXES) else _read_suffix(place)
    known = (".safetensors", ".pth", ".pt", ".ckpt", ".param", *onnx.SUFFIXES)
    suffix = suffix if suffix in known else ".pth"
    name = f"{source.name}-{format_scale(spec.scale)}{suffix}"
    where = place if "://" in place else str(Path(place).absolute())
    return Entry(
        source.name,
        spec.arch,
        spec.scale,
        UserFile(name),
        ncnn.hash_weights(file),
        source.licence,
        where,
        "unknown",
        "unknown" if spec.arch in FOREIGN else str(paper(spec.arch)),
        "real-world",
        sum(path.stat().st_size for path, _ in list_files(file, file)),
        config=spec.config,
    )


def _write_manifest(entries: list[Entry]) -> None:
    raw = [_as_json(entry) for entry in entries]
    path = manifest.find_user_manifest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        temporary.write_text(json.dumps({"weights": raw}, indent=1) + "\n", "utf-8")


def _as_json(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"scale": entry.scale or "any"}


def remove_models(names: list[str]) -> list[str]:
    """Delete the user's models of these names, MODEL or MODEL-xSCALE; return the entries' names.

    Raises `UsageError` if one of them is not the user's.
    """
    entries = list(manifest.load_user())
    removed: list[Entry] = []
    for name in names:
        found = [entry for entry in entries if manifest.normalise_name(name) in (entry.model, entry.name)]
        if not found:
            own = ", ".join(entry.name for entry in entries) or "none"
            raise UsageError(f"you added no model called '{name}'", f"yours: {own}")
        removed += [entry for entry in found if entry not in removed]
    _write_manifest([entry for entry in entries if entry not in removed])
    for entry in removed:
        path = manifest.find_user_folder() / _name_of(entry)
        for file, _ in list_files(path, path):
            file.unlink(missing_ok=True)
    return [entry.name for entry in removed]
