"""Networks, one file each: the file's name registers the network under that name.

A file needs a class `Network`; all else is optional: `TRAITS`, `PAPER`, `VARIANTS`, `rename`, `describe`,
`deploy` and facts for tests. `blocks`, `attention` and `anyscale` hold shared parts.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcli.dataclass import dataclass
from srcli.errors import UsageError
from srcli.scales import ANY, format_scale

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Traits:
    """The properties that a network has regardless of its weights and size.

    `scales`: those it can be built for; `pre_upsampled`: its input is upscaled by bicubic; `local`: an
    output pixel depends on nothing outside `halo` (not so with means over the whole image, as in channel
    attention: there `halo` is an overlap that keeps tiled output close to whole); `any_scale`: the output
    size is an input, and `scales` are only those that are counted and tested.
    """

    scales: tuple[int, ...] = (2, 3, 4)
    pre_upsampled: bool = False
    local: bool = True
    any_scale: bool = False

    @property
    def weight_scales(self) -> tuple[int, ...]:
        """The scales with weights of their own: each of `scales`, or `ANY` for one set that serves all."""
        return (ANY,) if self.any_scale else self.scales


@dataclass(frozen=True)
class Paper:
    """The publication of a network; `year` of the conference or journal."""

    title: str
    year: int
    url: str

    def __str__(self) -> str:
        return f"{self.title} ({self.year})" if self.year else self.title


UNPUBLISHED = Paper("no publication known", 0, "")


@dataclass(frozen=True)
class Count:
    """The number of parameters of a configuration, as its paper or the authors' files state it."""

    scale: int
    parameters: int
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """Facts about a network that only tests need.

    `small`: a configuration that tests and short training runs can afford; `training`: what differs from it
    in tests that train; `counts`: parameters as published; `export_errors`: for each format that the network
    cannot be exported to, a part of the reason. Networks with gates are `small` with a range of [0, 1]: on a
    range of 255, random weights open or shut the gates at the slightest difference.
    """

    small: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    counts: tuple[Count, ...] = ()
    export_errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A network that `build` can make; `scale` is `ANY` if the scale is an input of the network."""

    arch: str
    scale: int
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def own_scale(self) -> int:
        """The scale of the network's own tensors: 1 if its input is upscaled first, `ANY` as `scale` is."""
        return 1 if traits(self.arch).pre_upsampled else self.scale

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.config.items())
        return f"{self.arch} {format_scale(self.scale)}" + (f" ({settings})" if settings else "")


# Modules of this package that are not networks.
SHARED = ("anyscale", "attention", "blocks", "value_range")


def names() -> list[str]:
    """List all networks, without importing them."""
    files = (path.stem for folder in __path__ for path in Path(folder).glob("*.py"))
    return sorted(name for name in files if name not in (*SHARED, "__init__"))


def _module(arch: str) -> Any:
    if arch not in names():
        raise UsageError(f"no network called '{arch}'", f"known: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{arch}")


def traits(arch: str) -> Traits:
    """Return the traits of a network."""
    found: Traits = getattr(_module(arch), "TRAITS", Traits())
    return found


def paper(arch: str) -> Paper:
    """Return the paper of a network; `UNPUBLISHED` if it names none."""
    found: Paper = getattr(_module(arch), "PAPER", UNPUBLISHED)
    return found


def facts(arch: str) -> Facts:
    """Return the facts for tests of a network; defaults if its file has none."""
    found: Facts = getattr(_module(arch), "FACTS", Facts())
    return found


def variants(arch: str) -> tuple[dict[str, Any], ...]:
    """Return the configurations that papers and public weight files have; `{}` is the default."""
    found: tuple[dict[str, Any], ...] = getattr(_module(arch), "VARIANTS", ({},))
    return found


def build(arch: str, scale: int, config: dict[str, Any] | None = None) -> "nn.Module":
    """Build a randomly initialised network (N, C, H, W) -> (N, C, H*scale, W*scale), in [0, 1].

    Its attributes say how to feed it: `channels`, 3 for RGB or 1 for BT.601 luma; `halo`, how many input
    pixels around a pixel can change that pixel's output; `alignment`, if present: tiles have to begin at
    multiples of it. With `Traits.any_scale` the network also takes a `Window` of the output; `scale` is used
    without one. Every `config` may have `values`, see `value_range`. Raises `UsageError` for an unknown
    network, scale or configuration.
    """
    known = traits(arch)
    if scale not in (*known.weight_scales, *known.scales) and not (known.any_scale and scale > 0):
        raise UsageError(
            f"{arch} cannot be built for x{scale}", f"scales: {', '.join(map(str, known.scales))}"
        )
    scale = scale or known.scales[0]
    network_class = _module(arch).Network
    own, values = _split_values(config or {})
    try:
        settings = inspect.signature(network_class).bind(scale=scale, **own)
    except TypeError as error:
        raise UsageError(
            f"{arch} does not take this configuration: {error}", "the file may be for a newer version of sr"
        ) from error
    return _set_values(network_class(**settings.kwargs), values)


def _split_values(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the value range, which all networks take, from what is this network's own."""
    own = {key: value for key, value in config.items() if key != "values"}
    return own, {key: value for key, value in config.items() if key == "values"}


def _set_values(network: "nn.Module", values: dict[str, Any]) -> "nn.Module":
    if not values:
        return network
    from srcli.archs.value_range import set_value_range

    return set_value_range(network, str(values["values"]))


# The largest whole number in a configuration; the largest network known has 384 features.
_LARGEST_SETTING = 4096


def check_config(arch: str, scale: int, config: Any) -> None:
    """Raise `UsageError` unless `build` can take these, by their types and ranges; nothing is built.

    For configurations from files, which may be damaged or hostile.
    """
    known = traits(arch)
    if not (scale in (*known.weight_scales, *known.scales) or (known.any_scale and 0 < scale <= 32)):
        raise UsageError(f"{arch} cannot be built for a scale of {str(scale)[:20]}", _NEWER)
    if not isinstance(config, dict):
        raise UsageError(f"the configuration of {arch} is not a set of names and values", _NEWER)
    settings = inspect.signature(_module(arch).Network).parameters
    for name, value in config.items():
        if name == "values" and isinstance(value, str):
            continue
        if name not in settings or name == "scale":
            raise UsageError(f"{arch} has no setting {name[:40]!r}", _NEWER)
        expected = _describe_expected(settings[name].annotation, settings[name].default, value)
        if expected:
            raise UsageError(f"{name} of {arch} has to be {expected}, not {_shorten(value)}", _NEWER)


_NEWER = "the file is damaged, or for a newer version of sr"


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _describe_expected(annotation: Any, default: Any, value: Any) -> str:
    """Return what a value of a configuration has to be; empty if it is."""
    if value is None and annotation == int | None:
        return ""
    if annotation in (int, int | None):
        least = 0 if default == 0 else 1
        return "" if _is_count(value, least) else f"a whole number from {least} to {_LARGEST_SETTING}"
    is_valid, expected = _CHECKS.get(annotation, _LIST)
    return "" if is_valid(value) else expected


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) <= 1e6


def _is_count(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= _LARGEST_SETTING


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= 64 and all(_is_count(each) for each in value)


_LIST = (_is_list, "a short list of whole numbers")
# By annotation: what is valid, and what a value has to be.
_CHECKS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    float: (_is_number, "a number"),
    str: (lambda value: isinstance(value, str) and value.isidentifier(), "a word"),
    tuple[int, int]: (lambda value: _is_list(value) and len(value) == 2, "two whole numbers"),
}


def settings(arch: str) -> tuple[str, ...]:
    """Return the names of a network's settings, as in the `config` of a recipe or a weight file."""
    parameters = inspect.signature(_module(arch).Network).parameters
    return (*(name for name in parameters if name != "scale"), "values")


def has_identity_path(arch: str) -> bool:
    """Return whether the network can be initialised as an identity (`blocks.IdentityPath`)."""
    return hasattr(_module(arch).Network, "identity_path")


def rename(arch: str, state: dict[str, Any]) -> dict[str, Any]:
    """Rename the tensors of a published checkpoint to our keys; ours stay unchanged."""
    module = _module(arch)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    renamed: dict[str, Any] = module.rename(plain) if hasattr(module, "rename") else plain
    return renamed


def describe(arch: str, state: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration that the shapes of a checkpoint's tensors show, without defaults.

    Returns None for networks that cannot tell, and for tensors that are not of this network.
    """
    module = _module(arch)
    if not hasattr(module, "describe"):
        return None
    try:
        found: dict[str, Any] = module.describe(state | rename(arch, state))
        check_config(arch, traits(arch).weight_scales[0], found)
    except (LookupError, ValueError, TypeError, UsageError, ArithmeticError):
        return None
    defaults = {name: each.default for name, each in inspect.signature(module.Network).parameters.items()}
    return {name: value for name, value in found.items() if name == "values" or value != defaults[name]}


def deploy(
    arch: str, scale: int, config: dict[str, Any], network: "nn.Module"
) -> tuple["nn.Module", dict[str, Any]]:
    """Return the network and its config without branches that only training needs; most are unchanged."""
    module = _module(arch)
    if not hasattr(module, "deploy"):
        return network, config
    own, values = _split_values(config)
    plain, plain_config = module.deploy(network, own, scale)
    return _set_values(plain, values), plain_config | values
