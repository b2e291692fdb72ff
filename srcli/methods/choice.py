"""The choice of a method: a model by name, or a weight file."""

from pathlib import Path

from srcli import manifest
from srcli.dataclass import dataclass
from srcli.errors import UsageError
from srcli.manifest import DEFAULT_MODEL
from srcli.methods.auto import AUTO, Preference
from srcli.methods.base import Method, MethodOptions
from srcli.methods.registry import (
    find_arch,
    find_licence,
    find_own_scale,
    load_method,
    load_method_file,
    resolve_name,
)
from srcli.scales import ANY


@dataclass(frozen=True)
class ModelChoice:
    """A model by name, or a weight file; `arch` is the network the file belongs to, if it does not say.

    The name may be one that the model has elsewhere, see `resolve_name`. `auto` takes the model that suits
    each picture, and `prefer` says what matters then.
    """

    name: str | None = None
    weights: Path | None = None
    arch: str | None = None
    prefer: Preference | None = None

    def __post_init__(self) -> None:
        """Take the name that the model has here."""
        if self.name is not None:
            object.__setattr__(self, "name", resolve_name(self.name))

    @property
    def label(self) -> str:
        """The name in outputs and records."""
        return self.weights.stem if self.weights else self.name or DEFAULT_MODEL

    def check(self) -> None:
        """Raise `UsageError` for combinations that mean nothing."""
        if self.weights and self.name:
            hint = "name the file's network with --arch (arch= in Python)"
            raise UsageError("model cannot be used with weights", hint)
        if self.arch and not self.weights:
            raise UsageError("arch needs weights", "give a weight file, or name a model")
        if self.prefer and not self.is_auto:
            raise UsageError("--prefer is for -m auto", "leave out one of them")

    def check_realism(self, realism: float) -> None:
        """Raise `UsageError` if `realism` is given for a model without a second set of weights."""
        known = manifest.list_natural_models()
        if realism and not self.is_auto and (self.weights or self.label not in known):
            reason = f"--realism is for models with two sets of weights, and {self.label} has one"
            raise UsageError(reason, f"use -m {' or '.join(known)}; --strength works with every model")

    @property
    def is_auto(self) -> bool:
        """True if the pictures decide."""
        return self.name == AUTO and self.weights is None

    def load(self, scale: float, options: MethodOptions) -> Method:
        """Load what is needed for a scale."""
        if self.weights:
            return load_method_file(self.weights, scale, options, self.arch and find_arch(self.arch))
        return load_method(self.label, scale, options)

    def find_default_scale(self) -> int:
        """Return the scale of the weight file or model if it is for only one, else 4. Raises `SrError`."""
        self.check()
        if self.weights:
            return find_own_scale(self.weights, self.arch and find_arch(self.arch)) or 4
        scales = {entry.scale for entry in manifest.load() if entry.model == self.label}
        return scales.pop() if len(scales) == 1 and ANY not in scales else 4

    def find_licence(self, scale: float) -> str:
        """Return the licence of the weights; that of a user's file is unknown."""
        return "unknown" if self.weights else find_licence(self.label, scale)
