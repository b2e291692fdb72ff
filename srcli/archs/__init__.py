"""Networks, one file each: the file's name is the network's name, and being there registers it."""

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from srcli.errors import UsageError
from srcli.scales import ANY, format_scale

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Traits:
    """What is true of a network whatever its weights and its size.

    `scales`: what it can be built for; `pre_upsampled`: its input is already enlarged by bicubic;
    `local`: an output pixel depends on nothing outside `halo` (not so where means over the whole image
    enter, as in channel attention: there `halo` is an overlap that keeps tiled close to whole);
    `any_scale`: the size of the output is an input, and `scales` but the ones that are counted and tested.
    """

    scales: tuple[int, ...]
    pre_upsampled: bool = False
    local: bool = True
    any_scale: bool = False

    @property
    def kinds(self) -> tuple[int, ...]:
        """For which scales there are different weights: for each one, or one set for any."""
        return (ANY,) if self.any_scale else self.scales


@dataclass(frozen=True)
class Paper:
    """What a network is described in; `year` of the conference or journal."""

    title: str
    year: int
    url: str

    def __str__(self) -> str:
        return f"{self.title} ({self.year})" if self.year else self.title


UNPUBLISHED = Paper("no publication known", 0, "")


@dataclass(frozen=True)
class Spec:
    """One network: `build` makes it. `scale` is `ANY` where it is not the network's but the output's."""

    arch: str
    scale: int
    config: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.config.items())
        return f"{self.arch} {format_scale(self.scale)}" + (f" ({settings})" if settings else "")


# Modules here that are no networks.
SHARED = ("anyscale", "attention", "blocks")


def names() -> list[str]:
    """Every network there is, by listing this folder; nothing is imported."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED)


def _module(arch: str) -> Any:
    if arch not in names():
        raise UsageError(f"no network called '{arch}'", f"known: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{arch}")


def traits(arch: str) -> Traits:
    """The traits of a network, by name."""
    found: Traits = _module(arch).TRAITS
    return found


def paper(arch: str) -> Paper:
    """The paper of a network, by name."""
    found: Paper = _module(arch).PAPER
    return found


def variants(arch: str) -> tuple[dict[str, Any], ...]:
    """The configurations of a network that its papers and public weight files have; `{}` is the default."""
    found: tuple[dict[str, Any], ...] = getattr(_module(arch), "VARIANTS", ({},))
    return found


def build(arch: str, scale: int, config: dict[str, Any] | None = None) -> "nn.Module":
    """A new network (N, C, H, W) -> (N, C, H*scale, W*scale), in [0, 1], randomly initialised.

    Its attributes say how to feed it: `channels`, 3 for RGB or 1 for BT.601 luma; `halo`, how many
    input pixels around a pixel can change that pixel's output; where there is `alignment`, tiles have to
    begin at multiples of it. With `Traits.any_scale` it takes a `Window` of the output as well, and the
    scale is of the output where none is given.
    """
    able = traits(arch)
    if scale not in (*able.kinds, *able.scales) and not (able.any_scale and scale > 0):
        raise UsageError(
            f"{arch} cannot be built for x{scale}", f"scales: {', '.join(map(str, able.scales))}"
        )
    scale = scale or able.scales[0]
    network_class = _module(arch).Network
    try:
        settings = inspect.signature(network_class).bind(scale=scale, **(config or {}))
    except TypeError as error:
        raise UsageError(f"{arch} cannot be built so: {error}", "is the file for a newer sr?") from error
    network: nn.Module = network_class(**settings.kwargs)
    return network


def has_straight(arch: str) -> bool:
    """Whether the network says how colours get through it, see `blocks.Straight`."""
    return hasattr(_module(arch).Network, "straight")


def rename(arch: str, state: dict[str, Any]) -> dict[str, Any]:
    """A published checkpoint's tensors under our key names; ours pass unchanged."""
    module = _module(arch)
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    renamed: dict[str, Any] = module.rename(plain) if hasattr(module, "rename") else plain
    return renamed


def deployed(
    arch: str, scale: int, config: dict[str, Any], network: "nn.Module"
) -> tuple["nn.Module", dict[str, Any]]:
    """The network without what only training needs, and its config; most are as they were."""
    module = _module(arch)
    if not hasattr(module, "deploy"):
        return network, config
    plain, plain_config = module.deploy(network, config, scale)
    return plain, plain_config
