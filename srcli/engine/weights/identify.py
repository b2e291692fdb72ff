"""Identification of weight files: every known network is tried on their tensors, by names and shapes."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from srcli import archs
from srcli.archs import Spec

if TYPE_CHECKING:
    from torch import Tensor


# Key patterns of each network, written by tools/keys.py: building all networks would take half a minute.
KEYS = Path(__file__).parent / "keys.json"


def strip_numbers(key: str) -> str:
    """Return a key without its numbers, which only tell how deep a network is.

    >>> strip_numbers("body.12.conv1.weight")
    'body.#.conv#.weight'
    """
    return re.sub(r"\d+", "#", key)


@lru_cache(maxsize=1)
def _read_patterns() -> dict[str, frozenset[str]]:
    return {arch: frozenset(found) for arch, found in json.loads(KEYS.read_text("utf-8")).items()}


@dataclass(frozen=True)
class Fit:
    """A comparison of tensors with those of a network: missing and unexpected keys, differing shapes."""

    spec: Spec
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def faults(self) -> int:
        """The number of tensors that do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def is_similar(self, tensors: int) -> bool:
        """Return whether at least a tenth of `tensors` fit, so that the network is worth naming."""
        return 10 * (tensors - len(self.unexpected) - len(self.misshapen)) >= tensors

    def first_fault(self) -> str:
        """Return a message with the first tensor that does not fit; empty if all do."""
        if self.missing:
            return f"{len(self.missing)} tensors missing, first {self.missing[0]}"
        if self.unexpected:
            return f"{len(self.unexpected)} unexpected tensors, first {self.unexpected[0]}"
        return self.misshapen[0] if self.misshapen else ""


def compare_tensors(spec: Spec, wanted: "dict[str, Tensor]", given: "dict[str, Tensor]") -> Fit:
    """Compare the tensors that a network wants with those given."""
    misshapen = (
        f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and tensor.shape != given[key].shape
    )
    missing = tuple(key for key in wanted if key not in given)
    return Fit(spec, missing, tuple(key for key in given if key not in wanted), tuple(misshapen))


def rank_fits(state: "dict[str, Tensor]", arch: str | None = None) -> list[Fit]:
    """Return every known configuration of every network (or of `arch`) similar to `state`, best first."""
    tried = (fit for name in ([arch] if arch else archs.names()) for fit in _try_configs(name, state))
    return sorted(tried, key=lambda fit: fit.faults)


def _try_configs(arch: str, state: "dict[str, Tensor]") -> Iterator[Fit]:
    import torch

    given = archs.rename(arch, state)
    if not _may_fit(arch, given):
        return
    for config in archs.variants(arch):
        for scale in archs.traits(arch).weight_scales:
            with torch.device("meta"):
                wanted = archs.build(arch, scale, config).state_dict()
            fit = compare_tensors(Spec(arch, scale, config), wanted, given)
            if not fit.is_similar(len(given)):
                break  # scales differ in a few tensors at the end
            yield fit


def _may_fit(arch: str, given: "dict[str, Tensor]") -> bool:
    """Return whether enough keys could belong to the network for `Fit.is_similar`; unknown ones are tried."""
    known = _read_patterns().get(arch)
    return known is None or 10 * sum(strip_numbers(key) in known for key in given) >= len(given)


def find_exact(state: "dict[str, Tensor]", arch: str | None = None) -> list[Spec]:
    """Return what the tensors fit exactly; of configurations with equal tensors only the first."""
    found: dict[tuple[str, int], Spec] = {}
    for fit in rank_fits(state, arch):
        if fit.faults == 0:
            found.setdefault((fit.spec.arch, fit.spec.scale), fit.spec)
    return list(found.values())
