"""Which outputs are done already: by what is in the source and how it is enlarged, not by their names."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from srcli import __version__, manifest
from srcli.errors import FileError, ImageError
from srcli.imaging.codecs import reading
from srcli.imaging.metadata.provenance import Record, read_record
from srcli.methods import WEIGHTLESS, plan_scale_chain
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256
from srcli.storage.locations import Location, open_local_copy


@dataclass(frozen=True)
class Fingerprint:
    """How a batch is enlarged: `options` that change pixels or files; `weights` a file given by hand."""

    model: str
    scale: str
    options: dict[str, str]
    weights: Path | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it, the contents of the weights too; the same on any machine."""
        parts = {
            "model": self.model,
            "scale": self.scale,
            "options": self.options,
            "weights": self.weight_digests(0),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def weight_digests(self, scale: float) -> dict[str, str]:
        """SHA-256 of the weights by name: of those for `scale`, or of all the model's for 0."""
        if self.weights:
            return {self.weights.name: self._weights_digest}
        if self.model in WEIGHTLESS:
            return {}
        entries = manifest.entries_of(self.model)
        used = plan_scale_chain(scale, tuple(entries)) if scale > 1 else entries
        return {entries[step].name: entries[step].sha256 for step in sorted(set(used))}

    @cached_property
    def _weights_digest(self) -> str:
        """Of a file that is read once, as its network is."""
        assert self.weights
        return sha256(self.weights)

    def record(self, source: Path, size: tuple[int, int], scale: float, where: str, tile: int) -> Record:
        """What to write into the image made of `source`, which has that width and height."""
        return Record(
            __version__, self.model, self.scale, "x".join(map(str, size)), sha256(source), self.digest,
            self.weight_digests(scale), where, tile, self.options,
        )  # fmt: skip


def is_up_to_date(source: Location, target: Location, digest: str) -> bool:
    """Whether `target` was made of what is in `source` now, with the recipe of that digest.

    Of what is in a store, both are fetched for it.
    """
    with open_local_copy(target) as there:
        made = (_recorded(there) or _noted(there)) if there.is_file() else None
        if made is None or made[1] != digest:
            return False
        with open_local_copy(source) as given:
            return made[0] == sha256(given) and _is_whole(there)


def _recorded(target: Path) -> tuple[str, str] | None:
    """Source and settings that an output says itself."""
    try:
        record = read_record(reading.read_info(target).metadata)
    except ImageError:
        return None
    return (record.source, record.settings) if record else None


def _is_whole(target: Path) -> bool:
    """Whether a file can be decoded to its end: a copy that broke off may still say what it is."""
    try:
        return all(frame.samples.size for frame in reading.read_frames(target))
    except ImageError:
        return False


def remember_output(target: Path, source: Path, digest: str) -> None:
    """Remember in the cache what an output was made of, where it cannot say so itself."""
    state = target.stat()
    entry = [sha256(source), digest, state.st_size, state.st_mtime_ns]
    try:
        with replace_atomically(_note_path(target)) as temporary:
            temporary.write_text(json.dumps(entry), "utf-8")
    except FileError:
        return  # it will be made again then


def _noted(target: Path) -> tuple[str, str] | None:
    try:
        source, digest, size, changed = json.loads(_note_path(target).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    state = target.stat()
    return (source, digest) if (state.st_size, state.st_mtime_ns) == (size, changed) else None


def _note_path(target: Path) -> Path:
    name = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:32]
    return get_cache_folder() / "done" / f"{name}.json"
