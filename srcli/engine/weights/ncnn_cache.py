"""Networks packed for the fast runtime: three files that need no torch to be read.

`NAME.param` and `NAME.bin` are ncnn's own, the graph and its weights; `NAME.json` says how to feed them, from
which weights they were made, and what the other two files hash to.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srcli.archs import Spec
from srcli.errors import WeightsError
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import sha256

# Raised whenever the same network would be written otherwise: what was kept before is made anew.
WRITER = 2


@dataclass(frozen=True)
class Shape:
    """What a runtime has to know of a network: see `Runtime` for the first five.

    `least`: the smallest side it takes; `multiple`: sides have to be multiples of it. What is smaller, or is
    none, has its right and lower edge repeated.
    """

    scale: int
    halo: int
    align: int
    channels: int
    params: int
    least: int = 1
    multiple: int = 1


@dataclass(frozen=True)
class Packed:
    """A network as ncnn's graph (text) and weights (bytes)."""

    shape: Shape
    graph: str
    weights: bytes


@dataclass(frozen=True)
class Found:
    """A packed network on the disk: `path` without its suffix. Or `refused`: why there is none."""

    path: Path
    shape: Shape | None = None
    refused: str = ""

    @property
    def files(self) -> tuple[str, str]:
        """Graph and weights, for ncnn to read."""
        return f"{self.path}.param", f"{self.path}.bin"


def beside(weights: Path) -> Path:
    """Where the packed form of a bundled weight file is, without suffix: `ecbsr-x4.ncnn`."""
    return weights.with_suffix(".ncnn")


def kept(digest: str, spec: Spec) -> Path:
    """Where the packed form of weights with this SHA-256 is kept once made, without suffix."""
    import ncnn

    facts = (digest, spec.arch, spec.scale, spec.config, WRITER, ncnn.__version__)
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    return get_cache_folder() / "ncnn" / key


def write(path: Path, packed: Packed, made_from: str) -> None:
    """Three files; the last one, which says that all is there, at the end. Raises `FileError`."""
    contents = {"param": packed.graph.encode(), "bin": packed.weights}
    for suffix, content in contents.items():
        with replace_atomically(Path(f"{path}.{suffix}")) as temporary:
            temporary.write_bytes(content)
    digests = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in contents.items()}
    _write_card(path, {"made_from": made_from, "shape": asdict(packed.shape), "sha256": digests})


def refuse(path: Path, why: str) -> None:
    """Keep in mind that a network can't be packed, so that it is not tried each time."""
    _write_card(path, {"refused": why})


def _write_card(path: Path, card: dict[str, Any]) -> None:
    with replace_atomically(Path(f"{path}.json")) as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def find(path: Path, digest: str | None = None) -> Found | None:
    """What is there at `path`; None where nothing sound is. `digest`: the card's SHA-256, if it is known."""
    try:
        text = Path(f"{path}.json").read_bytes()
        if digest and hashlib.sha256(text).hexdigest() != digest:
            return None
        card = json.loads(text)
        if "refused" in card:
            return Found(path, refused=str(card["refused"]))
        sound = all(sha256(Path(f"{path}.{suffix}")) == digest for suffix, digest in card["sha256"].items())
        return Found(path, Shape(**card["shape"])) if sound else None
    except (WeightsError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def shipped(weights: Path, digest: str) -> Found:
    """The packed form of a bundled weight file, verified. Raises `WeightsError` where it is not whole."""
    found = find(beside(weights), digest)
    if found is None:
        raise WeightsError(f"the packed form of {weights.name} is missing or damaged", "reinstall sr")
    return found
