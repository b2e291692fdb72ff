"""The lineup: which models and weight files are measured, at the scales they support."""

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

_WARM_UP_SIDE = 48


@dataclass(frozen=True)
class BenchMethod:
    """A model or a weight file, under its name in tables."""

    name: str
    file: Path | None = None

    def has_scale(self, scale: float) -> bool:
        """Return whether it has weights for exactly that scale.

        Every method has fractional scales: networks of whole scales get there by bicubic, as in `sr upscale`.
        """
        if scale == 1 and self.name in KERNELS:
            return True  # a copy of the input, to compare networks with that restore at the same size
        if self.file is None:
            methods.check_model(self.name, scale)
        if scale != int(scale):
            return True
        if self.file is None:
            entries = self._list_entries()
            return not entries or manifest.select_entry(entries, scale) is not None
        if lut.is_table(self.file):
            return lut.read_tables(self.file)[0].scale == scale
        specs = weights.identify_specs(self.file)
        # A network that only spandrel knows tells its scale when it is loaded.
        return not specs or bool({scale, ANY} & {spec.scale for spec in specs})

    def hash_weights(self, scale: float) -> str:
        """Return the SHA-256 of all weights used for a scale, or an empty string without weights."""
        if self.file:
            return sha256(self.file)
        entries = self._list_entries()
        entry = manifest.select_entry(entries, scale)
        used = [entry] if entry else entries.values()
        return " ".join(one.sha256 for one in used)

    def find_spec(self, scale: float) -> Spec | None:
        """Return the network for that scale; None for no network, and for one that only spandrel knows."""
        try:
            if self.file and lut.is_table(self.file):
                return lut.read_tables(self.file)[0]
            if self.file:
                return methods.identify_weights(self.file, scale).spec
            return None if self.name in KERNELS else methods.locate_weights(self.name, scale).spec
        except (WeightsError, UsageError):
            return None

    def load(self, scale: float, options: MethodOptions) -> Method:
        """Load the method, ready to run, under its name in tables."""
        if scale == 1 and self.name in KERNELS:
            return methods.Interpolator(self.name)
        method = (
            methods.load_method_file(self.file, scale, options)
            if self.file
            else methods.load_method(self.name, scale, options)
        )
        return replace(method, name=self.name)

    def _list_entries(self) -> dict[int, manifest.Entry]:
        return manifest.find_entries(self.name) if self.name in manifest.list_models() else {}


@dataclass(frozen=True)
class Lineup:
    """All methods to measure, and how networks among them are run."""

    methods: tuple[BenchMethod, ...]
    options: MethodOptions = field(default_factory=MethodOptions)

    def at_scale(self, scale: float) -> tuple[BenchMethod, ...]:
        """Return the methods that have that scale."""
        return _filter_by_scale(self.methods, scale)

    def check_scales(self, scales: Iterable[float]) -> list[str]:
        """Return a note for each method without weights for some scales; raise `UsageError` if for all."""
        scales, notes = list(scales), []
        for method in self.methods:
            missing = [scale for scale in scales if not method.has_scale(scale)]
            names = ", ".join(format_scale(scale) for scale in missing)
            if len(missing) == len(scales):
                raise UsageError(f"{method.name} has no weights for {names}", "choose another scale with -x")
            if missing:
                notes.append(f"{method.name} has no weights for {names} and is left out there")
        return notes


@lru_cache(maxsize=64)
def _filter_by_scale(methods: tuple[BenchMethod, ...], scale: float) -> tuple[BenchMethod, ...]:
    return tuple(method for method in methods if method.has_scale(scale))


def build_lineup(models: Iterable[str], files: Iterable[Path], options: MethodOptions) -> Lineup:
    """Return the lineup of these models and weight files, each once and under a name of its own."""
    named = [BenchMethod(name) for name in dict.fromkeys(models)]
    files = list(dict.fromkeys(files))
    stems = Counter([method.name for method in named] + [file.stem for file in files])
    named += [BenchMethod(file.stem if stems[file.stem] == 1 else str(file), file) for file in files]
    return Lineup(tuple(named), options)


@lru_cache(maxsize=1)
def load_lineup(lineup: Lineup, scale: float) -> tuple[Method, ...]:
    """Load the methods of a scale and free those of the scale before.

    Networks run once on a small grey image, so that no measured time includes what only a first run needs.
    """
    loaded = tuple(method.load(scale, lineup.options) for method in lineup.at_scale(scale))
    for method in loaded:
        if method.params:
            method(np.full((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), 0.5, np.float32), scale)
    return loaded


@dataclass(frozen=True)
class MethodFacts:
    """A method at a scale: three fields of `Method`, and the `digest` of its weights."""

    name: str
    params: int
    description: str
    identified_as: str
    digest: str


@lru_cache(maxsize=64)
def describe_lineup(lineup: Lineup, scale: float) -> tuple[MethodFacts, ...]:
    """Load the methods of a scale and return what is known of them."""
    return tuple(
        MethodFacts(m.name, m.params, m.description, m.identified_as, method.hash_weights(scale))
        for method, m in zip(lineup.at_scale(scale), load_lineup(lineup, scale), strict=True)
    )
