"""`weights_manifest.json`: every weight file that the tool knows, as typed, validated entries."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import field, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from srcli.dataclass import dataclass
from srcli.errors import ManifestError, UsageError
from srcli.scales import ANY, format_scale

_PACKAGE = Path(__file__).parents[1]
BUNDLED = _PACKAGE / "weights"
DEFAULT_MODEL = "slimres"
# Stands for a SHA-256 that nobody publishes: the one that the Hub states for the file at its commit counts.
STATED_BY_HUB = "stated by the Hub"
PURPOSES = ("classical", "real-world", "drawings")
BORDERS = ("zero", "mirror")
# In place of a network's name: what runs a user's file that is of no network of ours. `graph`: ONNX or .pb.
FOREIGN = ("ncnn", "spandrel", "graph")


@dataclass(frozen=True)
class HubFile:
    """A file in a Hugging Face repository at a full commit (40 hex digits), or on a branch if none is known.

    `kind`: whether the repository is a model, dataset or space.
    """

    repo: str
    revision: str
    file: str
    kind: str = "model"

    @property
    def pinned(self) -> bool:
        """True if the revision is a commit, which cannot change."""
        return bool(re.fullmatch("[0-9a-f]{40}", self.revision))


@dataclass(frozen=True)
class PackageFile:
    """An ncnn pair in another package of the registry.

    `module` is the package's name in Python, `extra` that of the extra of sr that installs it; `file` is the
    .param file below it, with the .bin file beside it; `sha256` has those of both, by suffix.
    """

    module: str
    extra: str
    file: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class UserFile:
    """A file in the user's folder of models, which `sr models add` put there."""

    name: str


@dataclass(frozen=True)
class Entry:
    """One weight file.

    `file` is its name under `srcli/weights` (bundled), a `HubFile`, `PackageFile` or `UserFile`; `package` is
    where the same weights are, too: if it is installed, nothing is downloaded. `sha256` is 64 hex digits (of
    the .bin file of a pair) or `STATED_BY_HUB`; `packed` is the SHA-256 of the card of its ncnn form, which
    is bundled with it (see `srcli/engine/runtimes/converted.py`); `natural` is that of a second set of its
    weights, which makes up less, in `natural_file` (see `srcli/methods/realism.py`); `licence` is an SPDX
    name or `unknown`; `purpose` is `classical` (undoes bicubic downscaling), `real-world` (also noise, blur
    and JPEG artefacts) or `drawings` (the same for drawings); `published` maps a dataset to the paper's
    PSNR-Y of the network; `expect` maps one to the PSNR-Y and SSIM-Y that `sr bench` measures with this file.
    A `scale` of `"any"`, for networks that take any scale, is `ANY` here. `border` is what the network sees
    beyond the border of an image: the zeros of its own padding, or the image mirrored (`mirror`), where zeros
    would darken a white border by a level or more; on Set5 that costs less than 0.015 dB
    (`benchmarks/results/borders.json`).
    """

    model: str
    arch: str
    scale: int
    file: str | HubFile | PackageFile | UserFile
    sha256: str
    licence: str
    licence_source: str
    training_data: str
    paper: str
    purpose: str
    bytes: int | None = None
    packed: str | None = None
    natural: str | None = None
    package: PackageFile | None = None
    config: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    expect: dict[str, dict[str, float]] = field(default_factory=dict)
    border: str = "zero"

    @property
    def name(self) -> str:
        """The entry's name in messages and on the command line: `edsr-x4`, `liif-any`."""
        return f"{self.model}-{format_scale(self.scale)}"

    @property
    def is_foreign(self) -> bool:
        """True if only a library can run it, as it is of no network of ours."""
        return isinstance(self.file, UserFile) and self.arch in FOREIGN

    @property
    def bundled(self) -> Path | None:
        """The path of the file if it ships with the tool."""
        return BUNDLED / self.file if isinstance(self.file, str) else None

    @property
    def natural_file(self) -> Path | None:
        """The path of the second set of weights, if there is one."""
        return self.bundled.with_suffix(".natural.safetensors") if self.bundled and self.natural else None

    @property
    def packaged(self) -> PackageFile | None:
        """The place of the weights in another package, if they are in one."""
        return self.file if isinstance(self.file, PackageFile) else self.package

    @property
    def digest(self) -> str | None:
        """The SHA-256 that the file must have; None if only the Hub states it."""
        return None if self.sha256 == STATED_BY_HUB else self.sha256


@cache
def find_manifest() -> Path:
    """Return the manifest's path: inside the package if installed, at top level in a checkout."""
    inside = _PACKAGE / "weights_manifest.json"
    return inside if inside.exists() else _PACKAGE.parent / "weights_manifest.json"


def find_user_folder() -> Path:
    """Return the folder of the user's models: SR_MODELS, or `sr/models` in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("SR_MODELS") or Path(base) / "sr" / "models")


def find_user_manifest() -> Path:
    """Return the path of the manifest of the user's models, which need not exist."""
    return find_user_folder() / "manifest.json"


def load() -> tuple[Entry, ...]:
    """Return all entries, sr's own and then the user's. Raises `ManifestError` like `load_own`."""
    own, users = load_own(), load_user()
    if not users:
        return own  # usual, and needed several times for each image
    names = {entry.model for entry in own}
    return own + tuple(entry for entry in users if entry.model not in names)


def load_user() -> tuple[Entry, ...]:
    """Return the user's entries. Raises `ManifestError` like `load_own`."""
    path = find_user_manifest()
    try:
        return load_own(path) if path.exists() else ()
    except ManifestError as error:
        raise ManifestError(error.message, f"correct or delete {path}") from error


def load_own(path: Path | None = None) -> tuple[Entry, ...]:
    """Return sr's own entries, or those in `path`.

    Raises `ManifestError` that names the entry and the wrong field.
    """
    path = path or find_manifest()
    try:
        state = path.stat()
        return _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ManifestError(f"{path} is not a weights manifest: {error}", "reinstall sr") from error


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> tuple[Entry, ...]:
    """Read the file once for each state of it, as entries are needed for every image."""
    try:
        raw = json.loads(path.read_text("utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a weights manifest: {error}", "reinstall sr") from error
    entries = tuple(_parse_entry(item) for item in raw)
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ManifestError(f"{path}: {entry.name} is listed twice", "keep one of them")
        seen.add(entry.name)
    return entries


def _parse_entry(raw: Any) -> Entry:
    label = (
        f"manifest entry {raw.get('model', '?')} x{raw.get('scale', '?')}"
        if isinstance(raw, dict)
        else str(raw)
    )
    try:
        source, scale = raw["file"], raw["scale"]
        given = {
            "file": _parse_source(source),
            "package": _parse_source(raw.get("package")),
            "scale": ANY if scale == "any" else scale or None,
        }
        entry = Entry(**{**raw, **given})
    except (TypeError, KeyError) as error:
        raise ManifestError(f"{label}: {error}", "see `Entry` in srcli/manifest/__init__.py") from error
    for name in (f.name for f in fields(Entry)):
        if not _is_valid(name, getattr(entry, name)):
            raise ManifestError(f"{label}: bad {name}", "see `Entry` in srcli/manifest/__init__.py")
    return entry


def _parse_source(raw: Any) -> Any:
    if not isinstance(raw, dict):
        return raw
    if "module" in raw:
        return PackageFile(**raw)
    return UserFile(**raw) if set(raw) == {"name"} else HubFile(**raw)


def normalise_name(name: str) -> str:
    """Return a model's name in small letters and with hyphens, as all are written.

    >>> normalise_name("4x_foolhardy Remacri")
    '4x-foolhardy-remacri'
    """
    return re.sub(r"[\s_]+", "-", name.strip().lower())


def _is_valid(name: str, value: Any) -> bool:
    """Return whether a field's value follows the schema: its own check, or else a non-empty text."""
    return _CHECKS.get(name, _is_text)(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_file(value: Any) -> bool:
    if isinstance(value, HubFile):
        known = value.kind in ("model", "dataset", "space")
        return (
            known
            and bool(re.fullmatch("[^/]+/[^/]+", value.repo))
            and _is_text(value.file)
            and _is_text(value.revision)
        )
    if isinstance(value, UserFile):
        return _is_text(value.name) and Path(value.name).name == value.name
    return _is_text(value) or _is_package(value)


def _is_package(value: Any) -> bool:
    return (
        isinstance(value, PackageFile)
        and all(map(_is_text, (value.module, value.extra, value.file)))
        and isinstance(value.sha256, dict)
        and value.sha256.keys() == {"param", "bin"}
        and all(re.fullmatch("[0-9a-f]{64}", str(digest)) for digest in value.sha256.values())
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_scores(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(scores, dict) and all(isinstance(score, float) for score in scores.values())
        for scores in value.values()
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "scale": lambda value: value == ANY or _is_count(value),
    "file": _is_file,
    "sha256": lambda value: value == STATED_BY_HUB or bool(re.fullmatch("[0-9a-f]{64}", str(value))),
    "purpose": lambda value: value in PURPOSES,
    "bytes": lambda value: value is None or _is_count(value),
    "packed": lambda value: value is None or bool(re.fullmatch("[0-9a-f]{64}", str(value))),
    "natural": lambda value: value is None or bool(re.fullmatch("[0-9a-f]{64}", str(value))),
    "package": lambda value: value is None or _is_package(value),
    "config": lambda value: isinstance(value, dict),
    "published": lambda value: isinstance(value, dict) and all(isinstance(v, float) for v in value.values()),
    "expect": _is_scores,
    "border": lambda value: value in BORDERS,
}


def list_models() -> list[str]:
    """Return the models with known weights, in the manifest's order."""
    return list(dict.fromkeys(entry.model for entry in load()))


def list_natural_models() -> list[str]:
    """Return the models that have a second set of weights, see `Entry`."""
    return list(dict.fromkeys(entry.model for entry in load() if entry.natural))


def find_entries(model: str) -> dict[int, Entry]:
    """Return a model's entries by scale. Raises `UsageError` for a name that is not in the manifest."""
    found = {entry.scale: entry for entry in load() if entry.model == model}
    if not found:
        raise UsageError(f"no model called '{model}'", "`sr models` lists all")
    return found


def select_entry(entries: dict[int, Entry], scale: float) -> Entry | None:
    """Return the entry for a scale: that of this scale, or the one for any."""
    return entries.get(ANY) or (entries.get(int(scale)) if scale == int(scale) else None)


def find_models(arch: str) -> dict[str, Entry]:
    """Return one entry of each model that is a set of weights for a network, by name."""
    return {entry.model: entry for entry in load() if entry.arch == arch}


def find_named(name: str) -> list[Entry]:
    """Return the entries with a name: all of a model (`edsr`), or one (`edsr-x4`)."""
    found = [entry for entry in load() if name in (entry.model, entry.name)]
    if not found:
        raise UsageError(f"no weights called '{name}'", "`sr models` lists all; give MODEL or MODEL-xSCALE")
    return found


def list_aliases() -> dict[str, str]:
    """Return models by the names that their files have where they are published, if these are unique."""
    found: dict[str, set[str]] = {}
    for entry in load():
        file = entry.file.file if isinstance(entry.file, HubFile | PackageFile) else ""
        found.setdefault(normalise_name(Path(file).stem), set()).add(entry.model)
    return _OTHER_NAMES | {
        name: models.pop() for name, models in found.items() if len(models) == 1 and name not in _NO_NAMES
    }


# Names of files that say nothing.
_NO_NAMES = ("", "model", "pytorch-model")
# Names that programs and pages have for published files.
_OTHER_NAMES = {
    "realesrgan-x4plus-anime": "realesrgan-anime",
    "nmkd-superscale": "nmkd-superscale",
    "waifu2x-cunet": "waifu2x",
    "edsr-base": "edsr-baseline",
    "real": "photo-lite",
}


def list_bundled_models(scale: int, purpose: str | None = None) -> list[str]:
    """Return the models that upscale by `scale` without a download, for one purpose or all."""
    bundled = [entry for entry in load() if entry.bundled and entry.scale == scale]
    return [entry.model for entry in bundled if purpose in (None, entry.purpose)]
