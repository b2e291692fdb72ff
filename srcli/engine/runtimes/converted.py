"""Networks converted to a runtime's own format: files that are read without torch, bundled or cached.

Beside the files lies a card, `NAME.json`: what tiles the network needs, which weights it was made from, and
the SHA-256 of each file. A network that cannot be converted has only a card, with the reason.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.engine.runtimes.base import Converter, NetworkInfo, UnsupportedNetwork, WeightsSource
from srcli.errors import FileError, SrError, WeightsError
from srcli.storage.files import get_cache_folder, replace_atomically
from srcli.storage.hashing import hash_once, sha256
from srcli.workers.progress import Wait, ignore


@dataclass(frozen=True)
class ConvertedNetwork:
    """The content of a network's files, by their suffixes."""

    info: NetworkInfo
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class ConvertedFiles:
    """A converted network on disk; `path` has no suffix. Or a `refusal`: why it could not be converted."""

    path: Path
    info: NetworkInfo | None = None
    refusal: str = ""

    def file(self, suffix: str) -> str:
        """Return the name of one of the files."""
        return f"{self.path}.{suffix}"


def locate_bundled(weights: Path, form: str) -> Path:
    """Return where the converted form of a bundled weight file is, without suffix: `ecbsr-x4.ncnn`."""
    return weights.with_suffix(f".{form}")


def cache_path(form: str, version: str, digest: str, spec: Spec) -> Path:
    """Return where weights with this SHA-256 are kept once they are converted, without suffix.

    `version`: of whatever writes and reads the format; another one converts again.
    """
    facts = (digest, spec.arch, spec.scale, spec.config, version)
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    return get_cache_folder() / form / key


def write(path: Path, network: ConvertedNetwork, made_from: str) -> None:
    """Write the files, then the card, which shows that all are there. Raises `FileError`."""
    for suffix, content in network.files.items():
        with replace_atomically(Path(f"{path}.{suffix}")) as temporary:
            temporary.write_bytes(content)
    digests = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in network.files.items()}
    _write_card(path, {"made_from": made_from, "network": asdict(network.info), "sha256": digests})


def write_refusal(path: Path, reason: str) -> None:
    """Record why a network cannot be converted, so that it is not tried each time. Raises `FileError`."""
    _write_card(path, {"refused": reason})


def _write_card(path: Path, card: dict[str, Any]) -> None:
    with replace_atomically(Path(f"{path}.json")) as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", "utf-8")


def read(path: Path, card_digest: str | None = None) -> ConvertedFiles | None:
    """Return what is at `path`, checked; None if anything is missing or damaged.

    `card_digest`: the SHA-256 that the card must have, if it is known.
    """
    try:
        text = Path(f"{path}.json").read_bytes()
        if card_digest and hashlib.sha256(text).hexdigest() != card_digest:
            return None
        card = json.loads(text)
        if "refused" in card:
            return ConvertedFiles(path, refusal=str(card["refused"]))
        intact = all(sha256(Path(f"{path}.{suffix}")) == digest for suffix, digest in card["sha256"].items())
        return ConvertedFiles(path, NetworkInfo(**card["network"])) if intact else None
    except (SrError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_bundled(weights: Path, form: str, card_digest: str) -> ConvertedFiles:
    """Return the converted form of a bundled weight file. Raises `WeightsError` if it is damaged."""
    found = read(locate_bundled(weights, form), card_digest)
    if found is None:
        raise WeightsError(f"the {form} form of {weights.name} is missing or damaged", "reinstall sr")
    return found


def find_or_convert(
    source: WeightsSource, form: str, version: str, convert: Converter | None, wait: Wait = ignore
) -> ConvertedFiles:
    """Return the network in the format `form`: bundled, cached by an earlier run, or converted now.

    One process converts, and others that need the same network wait for it. `wait` is called before and after
    a conversion. Raises `UnsupportedNetwork` if the network cannot be converted or the result not be stored.
    """
    if form in source.cards:
        return read_bundled(source.path, form, source.cards[form])
    path = cache_path(form, version, source.digest or hash_once(source.path), source.spec)
    found = read(path)
    if found is None and convert is not None:
        found = _convert_once(source, form, path, convert, wait)
    if found is None:
        raise UnsupportedNetwork(f"not converted to {form}")
    if found.refusal:
        raise UnsupportedNetwork(found.refusal)
    return found


def _convert_once(
    source: WeightsSource, form: str, path: Path, convert: Converter, wait: Wait
) -> ConvertedFiles | None:
    from filelock import FileLock

    with ExitStack() as locks:
        with suppress(OSError):  # if nothing can be kept, each process converts for itself
            path.parent.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(f"{path}.lock"))
        found = read(path)
        if found is None:
            what, start = f"packing {source.path.name} for {form}, once", time.perf_counter()
            wait(what, None)
            try:
                convert(form, source, path)
            except FileError as error:
                raise UnsupportedNetwork(error.message) from error
            wait(what, time.perf_counter() - start)
            found = read(path)
        return found
