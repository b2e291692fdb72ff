"""Network interpolation: weights between those of a model and its second set, which makes up less.

As in ESRGAN, https://arxiv.org/abs/1809.00219, section 3.4. The mean of the weights is kept in the cache with
its converted form, so that every runtime takes it like any other file, and torch is not needed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srcli.archs import Spec
from srcli.engine.runtimes import converted
from srcli.engine.runtimes.base import WeightsSource
from srcli.engine.runtimes.converted import ConvertedNetwork
from srcli.engine.runtimes.ncnn import FORMAT
from srcli.engine.weights.ncnn import read_graph, replace_weights
from srcli.errors import WeightsError
from srcli.manifest import Entry
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256


def blend_natural(entry: Entry, realism: float) -> WeightsSource:
    """Return the weights between those of an entry (0) and its second set (1).

    Raises `WeightsError` if one of them is missing or damaged, and `FileError` if the cache is not writable.
    """
    own, natural = _locate(entry.bundled, entry.sha256), _locate(entry.natural_file, entry.natural)
    spec = Spec(entry.arch, entry.scale, entry.config)
    key = hashlib.sha256(repr((entry.sha256, entry.natural, realism)).encode()).hexdigest()[:24]
    # Laid out as what ships, under the same name: the fastest runtime for it is known.
    path = get_cache_folder() / "blends" / key / own.name
    card = converted.locate_bundled(path, FORMAT)
    if not path.exists() or converted.read(card) is None:
        _write_blend(own, natural, realism, path)
        _write_converted(entry, path, card)
    return WeightsSource(path, spec, sha256(path), {FORMAT: sha256(Path(f"{card}.json"))}, entry.border)


def _locate(path: Path | None, digest: str | None) -> Path:
    if path is None or not path.exists() or sha256(path) != digest:
        name = path.name if path else "a bundled file"
        raise WeightsError(f"{name} is missing or damaged", "reinstall sr")
    return path


def _write_blend(own: Path, natural: Path, realism: float, target: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    first, second = load_file(own), load_file(natural)
    with safe_open(own, "numpy") as file:
        notes = {key: value for key, value in file.metadata().items() if key != "recipe"}
    notes["blend"] = json.dumps({own.name: 1 - realism, natural.name: realism})
    mixed = {key: _mix(value, second[key], realism) for key, value in first.items()}
    with replace_atomically(target) as temporary:
        save_file(mixed, temporary, notes)


def _mix(first: NDArray[Any], second: NDArray[Any], share: float) -> NDArray[Any]:
    mixed = first.astype(np.float32) * np.float32(1 - share) + second.astype(np.float32) * np.float32(share)
    return mixed.astype(first.dtype)


def _write_converted(entry: Entry, blend: Path, card: Path) -> None:
    """Write the converted form of the blend: that of the entry with other weights."""
    from safetensors.numpy import load_file

    assert entry.bundled
    assert entry.packed
    packed = converted.read_bundled(entry.bundled, FORMAT, entry.packed)
    old, new = load_file(entry.bundled), load_file(blend)
    content = replace_weights(read_graph(Path(packed.file("param"))), old, new)
    files = {"param": Path(packed.file("param")).read_bytes(), "bin": content}
    assert packed.info
    converted.write(card, ConvertedNetwork(packed.info, files), sha256(blend))
