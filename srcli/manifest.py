"""`weights_manifest.json`: every weight file the tool knows, as typed and checked entries."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srcli.errors import ManifestError, UsageError

_PACKAGE = Path(__file__).parent
BUNDLED = _PACKAGE / "weights"
DEFAULT_MODEL = "fsrcnn"


@dataclass(frozen=True)
class HubFile:
    """A file in a Hugging Face repository at a full 40-hex commit."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class Entry:
    """One weight file.

    `file` is its name under `srcli/weights` (bundled) or a `HubFile`; `expect` maps a data set to
    its PSNR-Y and SSIM-Y as `sr bench` measures or the publisher states them.
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
    bytes: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    expect: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How the entry is called in messages: `edsr x4`."""
        return f"{self.model} x{self.scale}"

    @property
    def bundled(self) -> Path | None:
        """The file that ships with the tool, if this one does."""
        return BUNDLED / self.file if isinstance(self.file, str) else None


def default_path() -> Path:
    """Inside the package in an installed tool, at top level in a checkout."""
    inside = _PACKAGE / "weights_manifest.json"
    return inside if inside.exists() else _PACKAGE.parent / "weights_manifest.json"


def load(path: Path | None = None) -> tuple[Entry, ...]:
    """All entries. Raises `ManifestError` naming the entry and the field that is wrong."""
    path = path or default_path()
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


def _entry(raw: dict[str, Any]) -> Entry:
    label = f"manifest entry {raw.get('model', '?')} x{raw.get('scale', '?')}"
    try:
        source = raw.get("file")
        entry = Entry(**{**raw, "file": HubFile(**source) if isinstance(source, dict) else source})
    except TypeError as error:
        raise ManifestError(f"{label}: {error}", "see `Entry` in srcli/manifest.py") from error
    for name, valid in _checks(entry).items():
        if not valid:
            raise ManifestError(f"{label}: bad {name}", "see `Entry` in srcli/manifest.py")
    return entry


def _checks(entry: Entry) -> dict[str, bool]:
    texts = (entry.model, entry.arch, entry.licence, entry.licence_source, entry.training_data, entry.paper)
    revision = entry.file.revision if isinstance(entry.file, HubFile) else "0" * 40
    return {
        "model, arch, licence, licence_source, training_data or paper": all(
            isinstance(text, str) and text for text in texts
        ),
        "scale": isinstance(entry.scale, int) and entry.scale >= 1,
        "file": isinstance(entry.file, str | HubFile),
        "file.revision": bool(re.fullmatch("[0-9a-f]{40}", str(revision))),
        "sha256": bool(re.fullmatch("[0-9a-f]{64}", str(entry.sha256))),
    }


def models() -> list[str]:
    """The models that weights are known for, in the manifest's order."""
    return list(dict.fromkeys(entry.model for entry in load()))


def entries_of(model: str) -> dict[int, Entry]:
    """A model's entries by scale. Raises `UsageError` for a name that is not in the manifest."""
    found = {entry.scale: entry for entry in load() if entry.model == model}
    if not found:
        raise UsageError(f"no model called '{model}'", "`sr models` lists all")
    return found


def bundled_models(scale: int) -> list[str]:
    """Models that enlarge by `scale` with no download."""
    return [entry.model for entry in load() if entry.bundled and entry.scale == scale]
