"""What a weight file is: the networks that the project has, tried on its tensors by strict fit."""

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


# Patterns of keys by network, written by tools/keys.py: building all networks would take half a minute.
KEYS = Path(__file__).parent / "keys.json"


def pattern(key: str) -> str:
    """A key without its numbers, which tell how deep a network is.

    >>> pattern("body.12.conv1.weight")
    'body.#.conv#.weight'
    """
    return re.sub(r"\d+", "#", key)


@lru_cache(maxsize=1)
def _patterns() -> dict[str, frozenset[str]]:
    return {arch: frozenset(found) for arch, found in json.loads(KEYS.read_text("utf-8")).items()}


@dataclass(frozen=True)
class Fit:
    """How tensors compare with those of a network: key names, and shapes that differ, in words."""

    spec: Spec
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def faults(self) -> int:
        """How many tensors do not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)

    def alike(self, tensors: int) -> bool:
        """Whether at least a tenth of `tensors` fit, so that the network is worth naming."""
        return 10 * (tensors - len(self.unexpected) - len(self.misshapen)) >= tensors

    def first_fault(self) -> str:
        """What does not fit, by its first example; empty where all does."""
        if self.missing:
            return f"{len(self.missing)} tensors missing, first {self.missing[0]}"
        if self.unexpected:
            return f"{len(self.unexpected)} tensors too many, first {self.unexpected[0]}"
        return self.misshapen[0] if self.misshapen else ""


def compare(spec: Spec, wanted: "dict[str, Tensor]", given: "dict[str, Tensor]") -> Fit:
    """The tensors of a network against those at hand."""
    misshapen = (
        f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and tensor.shape != given[key].shape
    )
    missing = tuple(key for key in wanted if key not in given)
    return Fit(spec, missing, tuple(key for key in given if key not in wanted), tuple(misshapen))


def fits(state: "dict[str, Tensor]", arch: str | None = None) -> list[Fit]:
    """Every known configuration of every network (or of `arch`) that is like `state`, best first."""
    tried = (fit for name in ([arch] if arch else archs.names()) for fit in _tried(name, state))
    return sorted(tried, key=lambda fit: fit.faults)


def _tried(arch: str, state: "dict[str, Tensor]") -> Iterator[Fit]:
    import torch

    given = archs.rename(arch, state)
    if not _may_fit(arch, given):
        return
    for config in archs.variants(arch):
        for scale in archs.traits(arch).weight_scales:
            with torch.device("meta"):
                wanted = archs.build(arch, scale, config).state_dict()
            fit = compare(Spec(arch, scale, config), wanted, given)
            if not fit.alike(len(given)):
                break  # scales differ in a few tensors at the end
            yield fit


def _may_fit(arch: str, given: "dict[str, Tensor]") -> bool:
    """Whether so many keys could be the network's that `Fit.alike` could hold; unknown ones are tried."""
    known = _patterns().get(arch)
    return known is None or 10 * sum(pattern(key) in known for key in given) >= len(given)


def exact(state: "dict[str, Tensor]", arch: str | None = None) -> list[Spec]:
    """What the tensors fit without a fault; of configurations with equal tensors only the first."""
    found: dict[tuple[str, int], Spec] = {}
    for fit in fits(state, arch):
        if fit.faults == 0:
            found.setdefault((fit.spec.arch, fit.spec.scale), fit.spec)
    return list(found.values())
