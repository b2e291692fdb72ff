"""Identification of weight files: every known network is tried on their tensors, by names and shapes."""

import json
import re
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli import archs
from srcli.archs import Spec
from srcli.dataclass import dataclass
from srcli.engine.weights.checkpoint import State, strip_prefixes
from srcli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn


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


def compare_tensors(spec: Spec, wanted: State, given: State) -> Fit:
    """Compare the tensors that a network wants with those given."""
    misshapen = (
        f"{key} is {tuple(given[key].shape)}, not {tuple(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in given and tensor.shape != given[key].shape
    )
    missing = tuple(key for key in wanted if key not in given)
    return Fit(spec, missing, tuple(key for key in given if key not in wanted), tuple(misshapen))


class _TooLarge(Exception):  # noqa: N818 (it ends the construction of a network)
    """A network has far more tensors or values than a file."""


def list_wanted(spec: Spec, given: State) -> State:
    """Return the tensors that a network wants, on the meta device, without memory for their values.

    Raises `WeightsError` if it cannot be built, or if it is far larger than the tensors given.
    """
    import torch

    tensors = 4 * len(given) + 256
    values = 4 * sum(value.numel() for value in given.values()) + 10**6
    thread = threading.get_ident()

    def count(module: "nn.Module", name: str, parameter: "Tensor | None") -> None:
        nonlocal tensors, values
        if threading.get_ident() != thread:
            return
        tensors -= 1
        values -= 0 if parameter is None else parameter.numel()
        if tensors < 0 or values < 0:
            raise _TooLarge

    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes of 0 are found out by comparing
            return dict(archs.build(spec.arch, spec.scale, spec.config).state_dict())
    except _TooLarge as error:
        raise WeightsError(f"{spec} is far larger than the file", "the file is damaged") from error
    except UsageError as error:
        raise WeightsError(error.message, error.hint) from error
    except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AssertionError) as error:
        raise WeightsError(f"{spec} cannot be built", "the file is damaged") from error
    finally:
        hook.remove()


def fit_tensors(spec: Spec, state: State) -> tuple[State, Fit]:
    """Return the tensors by the names of `spec`'s network, and how they fit.

    Of prefixes that all keys have, as many are stripped as fits best. Raises `WeightsError` if the network
    cannot be built.
    """
    best: tuple[State, Fit] | None = None
    for _, given in strip_prefixes(state):
        renamed = archs.rename(spec.arch, given)
        fit = compare_tensors(spec, list_wanted(spec, renamed), renamed)
        if best is None or fit.faults < best[1].faults:
            best = (renamed, fit)
        if fit.faults == 0:
            break
    assert best is not None
    return best


def rank_fits(state: State, arch: str | None = None) -> list[Fit]:
    """Return every known configuration of every network (or of `arch`) similar to `state`, best first.

    Prefixes that all keys have are stripped if nothing fits with them.
    """
    ranked: list[Fit] = []
    for _, given in strip_prefixes(state):
        tried = (fit for name in ([arch] if arch else archs.names()) for fit in _try_configs(name, given))
        ranked = sorted([*ranked, *tried], key=lambda fit: fit.faults)
        if ranked and ranked[0].faults == 0:
            break
    return ranked


def _try_configs(arch: str, state: State) -> Iterator[Fit]:
    given = archs.rename(arch, state)
    if not _may_fit(arch, given):
        return
    described = archs.describe(arch, state)
    if described is not None:
        fits = list(_try_scales(arch, described, given))
        yield from fits
        if any(fit.faults == 0 for fit in fits):
            return
    for config in archs.variants(arch):
        if config != described:
            yield from _try_scales(arch, config, given)


def _try_scales(arch: str, config: dict[str, Any], given: State) -> Iterator[Fit]:
    for scale in archs.traits(arch).weight_scales:
        spec = Spec(arch, scale, config)
        try:
            fit = compare_tensors(spec, list_wanted(spec, given), given)
        except WeightsError:  # not for this scale, or much larger
            continue
        if not fit.is_similar(len(given)):
            break  # scales differ in a few tensors at the end
        yield fit


def _may_fit(arch: str, given: State) -> bool:
    """Return whether enough keys could belong to the network for `Fit.is_similar`; unknown ones are tried."""
    known = _read_patterns().get(arch)
    return known is None or 10 * sum(strip_numbers(key) in known for key in given) >= len(given)


@dataclass(frozen=True)
class Family:
    """The network whose keys are most like a file's: `shared` of its patterns, and the other keys."""

    arch: str
    shared: int
    others: tuple[str, ...]


def find_family(state: State) -> Family | None:
    """Return the network with the most of the file's keys, numbers aside; None if none has any of them."""
    best: Family | None = None
    for _, given in strip_prefixes(state):
        keys = {strip_numbers(key): key for key in reversed(given)}  # the first key of each pattern
        for arch, patterns in _read_patterns().items():
            shared = len(keys.keys() & patterns)
            if shared > (best.shared if best else 0):
                best = Family(
                    arch, shared, tuple(key for plain, key in reversed(keys.items()) if plain not in patterns)
                )
    return best


def find_exact(state: State, arch: str | None = None) -> list[Spec]:
    """Return what the tensors fit exactly; of configurations with equal tensors only the first."""
    found: dict[tuple[str, int], Spec] = {}
    for fit in rank_fits(state, arch):
        if fit.faults == 0:
            found.setdefault((fit.spec.arch, fit.spec.scale), fit.spec)
    return list(found.values())
