"""Fingerprints of outputs: was this file made from that source with these settings, whatever its name?"""

import hashlib
import json
import os
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from srcli import __version__, manifest
from srcli.dataclass import dataclass
from srcli.engine.weights.files import find_digest
from srcli.engine.weights.ncnn import hash_weights
from srcli.errors import FileError, ImageError
from srcli.imaging.codecs import reading
from srcli.imaging.codecs.base import EncodingOptions
from srcli.imaging.metadata.provenance import Record, read_record
from srcli.methods import WEIGHTLESS, plan_entries
from srcli.methods.auto import AutoModels
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256
from srcli.storage.json_text import read_json
from srcli.storage.locations import Location, open_local_copy
from srcli.upscaling.postprocess import Postprocess

_MAX_NOTE = 10_000  # bytes


@dataclass(frozen=True)
class Fingerprint:
    """All settings that change an output; `weights` is a file of the user, `options` the rest.

    `auto` are the models of which each picture takes one. `settings` is the digest of what was asked for, if
    `model` was chosen for a picture.
    """

    model: str
    scale: str
    options: dict[str, str]
    weights: Path | None = None
    auto: AutoModels | None = None
    settings: str = ""

    def for_model(self, model: str, reason: str) -> "Fingerprint":
        """Return the fingerprint of an output for which `model` was chosen among `auto`."""
        options = {**self.options, "auto": reason}
        return replace(self, model=model, options=options, auto=None, settings=self.digest)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings and the contents of the weights; the same on any machine."""
        if self.settings:
            return self.settings
        parts = {
            "model": self.model,
            "scale": self.scale,
            "options": self.options,
            "weights": self.weight_digests(0),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def weight_digests(self, scale: float) -> dict[str, str]:
        """Return SHA-256 by name of the weights for `scale`, or of all weights of the model if it is 0."""
        if self.weights:
            return {self.weights.name: self._weights_digest}
        if self.auto:
            each = [Fingerprint(name, self.scale, {}).weight_digests(scale) for name in self.auto.names]
            return {name: digest for digests in each for name, digest in digests.items()}
        if self.model in WEIGHTLESS:
            return {}
        entries = manifest.find_entries(self.model)
        used = (
            plan_entries(entries, scale)
            if scale > 1 or (scale == 1 and 1 in entries)
            else list(entries.values())
        )
        return {entry.name: find_digest(entry) for entry in sorted(used, key=lambda entry: entry.scale)}

    @cached_property
    def _weights_digest(self) -> str:
        # Cached, like the network itself: the file may change during the run.
        assert self.weights
        return hash_weights(self.weights)

    def record(self, source: Path, size: tuple[int, int], scale: float, device: str, tile: int) -> Record:
        """Return what to write into an image made of `source`, which has `size` (width, height)."""
        return Record(
            __version__, self.model, self.scale, "x".join(map(str, size)), sha256(source), self.digest,
            self.weight_digests(scale), device, tile, self.options,
        )  # fmt: skip


class EngineChoices(Protocol):
    """The options of running networks that change pixels."""

    @property
    def self_ensemble(self) -> bool:
        """True if eight orientations are averaged."""

    @property
    def realism(self) -> float:
        """The share of the weights that make up less, from 0 to 1."""


def list_choices(
    encoding: EncodingOptions, postprocess: Postprocess, engine: EngineChoices
) -> dict[str, str]:
    """Return the options that differ from the defaults and change pixels or files, as text."""
    chosen = asdict(encoding) | asdict(replace(postprocess, uncertainty=None))
    chosen |= {"self_ensemble": engine.self_ensemble or postprocess.uncertainty is not None}
    chosen |= {"realism": engine.realism}
    defaults = asdict(EncodingOptions()) | asdict(Postprocess()) | {"self_ensemble": False, "realism": 0.0}
    return {key: str(value) for key, value in chosen.items() if value != defaults[key]}


def is_up_to_date(source: Location, target: Location, digest: str) -> bool:
    """Return whether `target` was made from the current content of `source` with the settings of that digest.

    Remote files are downloaded for it.
    """
    with open_local_copy(target) as output:
        origin = (_read_origin(output) or _recall_origin(output)) if output.is_file() else None
        if origin is None or origin[1] != digest:
            return False
        with open_local_copy(source) as image:
            return origin[0] == sha256(image) and _is_whole(output)


def has_settings(path: Path, digest: str) -> bool:
    """Return whether a local file was written by `sr` with the settings of that digest."""
    origin = _read_origin(path) or _recall_origin(path)
    return origin is not None and origin[1] == digest


def is_own_output(path: Path) -> bool:
    """Return whether a local file says, or the cache remembers, that it was written by `sr`."""
    return (_read_origin(path) or _recall_origin(path)) is not None


def _read_origin(target: Path) -> tuple[str, str] | None:
    """Return the digests of source and settings in the record that an output carries."""
    try:
        record = read_record(reading.read_info(target).metadata)
    except ImageError:
        return None
    return (record.source, record.settings) if record else None


def _is_whole(target: Path) -> bool:
    """Return whether a file decodes to its end; the header of a truncated copy may be intact."""
    try:
        return all(frame.samples.size for frame in reading.read_frames(target))
    except ImageError:
        return False


def remember_output(target: Path, source: str, digest: str) -> None:
    """Remember in the cache which source and settings, by their digests, made an output without a record."""
    state = target.stat()
    entry = [source, digest, state.st_size, state.st_mtime_ns]
    try:
        with replace_atomically(_note_path(target)) as temporary:
            temporary.write_text(json.dumps(entry), "utf-8")
    except FileError:
        return  # the next run makes it again


def _recall_origin(target: Path) -> tuple[str, str] | None:
    try:
        source, digest, size, changed = read_json(_note_path(target), _MAX_NOTE)
    except (OSError, ValueError, TypeError):
        return None
    state = target.stat()
    return (source, digest) if (state.st_size, state.st_mtime_ns) == (size, changed) else None


def _note_path(target: Path) -> Path:
    name = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:32]
    return get_cache_folder() / "done" / f"{name}.json"
