"""Who is measured: models and weight files, at the scales that they have."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from srcli import manifest, methods
from srcli.archs import Spec
from srcli.engine.weights import files as weights
from srcli.engine.weights import lut
from srcli.errors import UsageError, WeightsError
from srcli.imaging.resize import KERNELS
from srcli.methods import Method, MethodOptions
from srcli.scales import ANY, format_scale
from srcli.storage.hashing import sha256

# The side of the grey image that networks begin with.
_WARM = 48


@dataclass(frozen=True)
class BenchMethod:
    """A model's name or a weight file, as it is called in tables."""

    name: str
    file: Path | None = None

    def has(self, scale: float) -> bool:
        """Whether it is made for that scale, rather than for others that lead there.

        Broken scales are for all: networks of whole ones are brought there by bicubic, as `sr upscale` does.
        """
        if self.file is None:
            methods.check_model(self.name, scale)
        if scale != int(scale):
            return True
        if self.file is None:
            entries = manifest.entries_of(self.name) if self.name in manifest.models() else {}
            return not entries or manifest.for_scale(entries, scale) is not None
        if lut.is_table(self.file):
            return lut.read(self.file)[0].scale == scale
        fitting = weights.specs_of(self.file)
        # A network that only spandrel knows says its scale when it is loaded.
        return not fitting or bool({scale, ANY} & {spec.scale for spec in fitting})

    def digest(self, scale: float) -> str:
        """SHA-256 of all weights that are used for a scale, or nothing where there are none."""
        if self.file:
            return sha256(self.file)
        known = manifest.entries_of(self.name) if self.name in manifest.models() else {}
        entry = manifest.for_scale(known, scale)
        used = [entry] if entry else known.values()
        return " ".join(one.sha256 for one in used)

    def spec(self, scale: float) -> Spec | None:
        """The network for that scale; None for what has none, and for networks that only spandrel knows."""
        try:
            if self.file and lut.is_table(self.file):
                return lut.read(self.file)[0]
            if self.file:
                return methods.identify_weights(self.file, scale).spec
            return None if self.name in KERNELS else methods.locate_weights(self.name, scale).spec
        except (WeightsError, UsageError):
            return None

    def method(self, scale: float, options: MethodOptions) -> Method:
        """It, ready to run."""
        found = (
            methods.load_method_file(self.file, scale, options)
            if self.file
            else methods.load_method(self.name, scale, options)
        )
        return replace(found, name=self.name)


@dataclass(frozen=True)
class Lineup:
    """All entrants, and how networks among them are run."""

    entrants: tuple[BenchMethod, ...]
    options: MethodOptions = field(default_factory=MethodOptions)

    def at(self, scale: float) -> tuple[BenchMethod, ...]:
        """Those that have that scale."""
        return _at(self.entrants, scale)

    def check(self, scales: Iterable[float]) -> list[str]:
        """Raise `UsageError` for an entrant without any of the scales; say which lack some of them."""
        asked, notes = list(scales), []
        for entrant in self.entrants:
            lacking = [scale for scale in asked if not entrant.has(scale)]
            told = ", ".join(format_scale(scale) for scale in lacking)
            if len(lacking) == len(asked):
                raise UsageError(
                    f"{entrant.name} has no weights for {told}", "give a scale that it has with -x"
                )
            if lacking:
                notes.append(f"{entrant.name} has no weights for {told} and is left out there")
        return notes


@lru_cache(maxsize=64)
def _at(entrants: tuple[BenchMethod, ...], scale: float) -> tuple[BenchMethod, ...]:
    return tuple(entrant for entrant in entrants if entrant.has(scale))


def enter(models: Iterable[str], files: Iterable[Path], options: MethodOptions) -> Lineup:
    """The field of these models, each once, and of these weight files, each under a name of its own."""
    named = [BenchMethod(name) for name in dict.fromkeys(models)]
    given = list(dict.fromkeys(files))
    stems = Counter([entrant.name for entrant in named] + [file.stem for file in given])
    named += [BenchMethod(file.stem if stems[file.stem] == 1 else str(file), file) for file in given]
    return Lineup(tuple(named), options)


@lru_cache(maxsize=1)
def ready(entered: Lineup, scale: float) -> tuple[Method, ...]:
    """The methods of a scale, loaded; those of the scale before are let go.

    Networks run once, on a small grey image, so that no image's time has in it what only the first one needs.
    """
    found = tuple(entrant.method(scale, entered.options) for entrant in entered.at(scale))
    for method in found:
        if method.params:
            method(np.full((_WARM, _WARM, 3), 0.5, np.float32), scale)
    return found


@dataclass(frozen=True)
class About:
    """A method at a scale, as `Method` says it; `digest` of its weights."""

    name: str
    params: int
    where: str
    taken_for: str
    digest: str


@lru_cache(maxsize=64)
def described(entered: Lineup, scale: float) -> tuple[About, ...]:
    """What is known of the methods of a scale, once they are loaded."""
    return tuple(
        About(method.name, method.params, method.description, method.identified_as, entrant.digest(scale))
        for entrant, method in zip(entered.at(scale), ready(entered, scale), strict=True)
    )
