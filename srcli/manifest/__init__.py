"""`weights_manifest.json`: every weight file the tool knows, as typed and checked entries."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from srcli.errors import ManifestError, UsageError
from srcli.scales import ANY, format_scale

_PACKAGE = Path(__file__).parents[1]
BUNDLED = _PACKAGE / "weights"
DEFAULT_MODEL = "ecbsr"
# In the place of a SHA-256 that is published nowhere: what the Hub states for the file at its commit counts.
STATED_BY_HUB = "stated by the Hub"
PURPOSES = ("classical", "real-world")


@dataclass(frozen=True)
class HubFile:
    """A file in a Hugging Face repository at a full 40-hex commit, or on a branch where none is known.

    `kind` of the repository: model, dataset or space.
    """

    repo: str
    revision: str
    file: str
    kind: str = "model"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which can't change."""
        return bool(re.fullmatch("[0-9a-f]{40}", self.revision))


@dataclass(frozen=True)
class Entry:
    """One weight file.

    `file` is its name under `srcli/weights` (bundled) or a `HubFile`; `sha256` is 64 hex digits or
    `STATED_BY_HUB`; `packed` is the SHA-256 of the card of its form for ncnn, which a bundled one has beside
    it (see `srcli/engine/packed.py`); `licence` is an SPDX name or `unknown`; `purpose` is `classical`
    (bicubic reduction undone) or `real-world`; `published` maps a data set to the paper's PSNR-Y of the
    network; `expect` maps one to the PSNR-Y and SSIM-Y that `sr bench` measures with this very file. A
    `scale` of `"any"`, for networks that take every one, is `ANY` here.
    """

    model: str
    arch: str
    scale: int
    file: str | HubFile
    sha256: str
    licence: str
    licence_source: str
    training_data: str
    paper: str
    purpose: str
    bytes: int | None = None
    packed: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    expect: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the entry is called in messages and on the command line: `edsr-x4`, `liif-any`."""
        return f"{self.model}-{format_scale(self.scale)}"

    @property
    def bundled(self) -> Path | None:
        """The file that ships with the tool, if this one does."""
        return BUNDLED / self.file if isinstance(self.file, str) else None

    @property
    def digest(self) -> str | None:
        """The SHA-256 that the file must have; None where the Hub's word has to do."""
        return None if self.sha256 == STATED_BY_HUB else self.sha256


def find_manifest() -> Path:
    """Inside the package in an installed tool, at top level in a checkout."""
    inside = _PACKAGE / "weights_manifest.json"
    return inside if inside.exists() else _PACKAGE.parent / "weights_manifest.json"


def load(path: Path | None = None) -> tuple[Entry, ...]:
    """All entries. Raises `ManifestError` naming the entry and the field that is wrong."""
    path = path or find_manifest()
    try:
        state = path.stat()
        return _loaded(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise ManifestError(f"{path} is not a weights manifest: {error}", "reinstall sr") from error


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int, size: int) -> tuple[Entry, ...]:
    """Once for each state of the file: it is asked for with every image."""
    try:
        raw = json.loads(path.read_text("utf-8"))["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a weights manifest: {error}", "reinstall sr") from error
    entries = tuple(_entry(item) for item in raw)
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ManifestError(f"{path}: {entry.name} is listed twice", "keep one of them")
        seen.add(entry.name)
    return entries


def _entry(raw: Any) -> Entry:
    label = (
        f"manifest entry {raw.get('model', '?')} x{raw.get('scale', '?')}"
        if isinstance(raw, dict)
        else str(raw)
    )
    try:
        source, scale = raw["file"], raw["scale"]
        given = {
            "file": HubFile(**source) if isinstance(source, dict) else source,
            "scale": ANY if scale == "any" else scale or None,
        }
        entry = Entry(**{**raw, **given})
    except (TypeError, KeyError) as error:
        raise ManifestError(f"{label}: {error}", "see `Entry` in srcli/manifest.py") from error
    for name in (f.name for f in fields(Entry)):
        if not _valid(name, getattr(entry, name)):
            raise ManifestError(f"{label}: bad {name}", "see `Entry` in srcli/manifest.py")
    return entry


def _valid(name: str, value: Any) -> bool:
    """Whether a field's value follows the schema: its own check, or a text that is not empty."""
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
    return _is_text(value)


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
    "config": lambda value: isinstance(value, dict),
    "published": lambda value: isinstance(value, dict) and all(isinstance(v, float) for v in value.values()),
    "expect": _is_scores,
}


def list_models() -> list[str]:
    """The models that weights are known for, in the manifest's order."""
    return list(dict.fromkeys(entry.model for entry in load()))


def find_entries(model: str) -> dict[int, Entry]:
    """A model's entries by scale. Raises `UsageError` for a name that is not in the manifest."""
    found = {entry.scale: entry for entry in load() if entry.model == model}
    if not found:
        raise UsageError(f"no model called '{model}'", "`sr models` lists all")
    return found


def select_entry(entries: dict[int, Entry], scale: float) -> Entry | None:
    """The one of a model's entries for a scale: its own, or the one for any."""
    return entries.get(ANY) or (entries.get(int(scale)) if scale == int(scale) else None)


def find_models(arch: str) -> dict[str, Entry]:
    """The models that are weights of a network, by name: an entry of each."""
    return {entry.model: entry for entry in load() if entry.arch == arch}


def find_named(name: str) -> list[Entry]:
    """The entries that a name means: those of a model (`edsr`), or one (`edsr-x4`)."""
    found = [entry for entry in load() if name in (entry.model, entry.name)]
    if not found:
        raise UsageError(f"no weights called '{name}'", "`sr models` lists all; give MODEL or MODEL-xSCALE")
    return found


def list_bundled_models(scale: int) -> list[str]:
    """Models that enlarge by `scale` with no download."""
    return [entry.model for entry in load() if entry.bundled and entry.scale == scale]
