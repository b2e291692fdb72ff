"""What is trained and how: one function for each network, returning a frozen `Recipe`."""

import json
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from srcli.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run.

    `patch`: pixels of the network's input on a side; `learning_rate`: peak of Adam's, warmed up over `warmup`
    steps and then annealed by a cosine to a hundredth; `ema`: decay of the averaged weights that are
    validated and kept; `clip`: largest gradient norm; `init`: weight file that training starts from.
    `zooms`: sizes at which each image is learned from, relative to its own (FSRCNN's augmentation);
    `precision`: of the network's convolutions; bfloat16 on a CPU needs AVX-512 BF16 to be fast.
    """

    arch: str
    scale: int
    config: dict[str, Any] = field(default_factory=dict)
    patch: int = 32
    batch: int = 16
    steps: int = 100_000
    loss: Literal["l1", "l2"] = "l1"
    learning_rate: float = 1e-3
    warmup: int = 200
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    validate_every: int = 2_000
    init: str = ""
    zooms: tuple[float, ...] = (1.0,)
    precision: Literal["float32", "bfloat16"] = "float32"


def fsrcnn(scale: int) -> Recipe:
    """FSRCNN(56, 12, 4) with Adam; the paper's SGD at batch 1 reaches the same in many more steps."""
    return Recipe("fsrcnn", scale, loss="l2")


def srcnn(scale: int) -> Recipe:
    """SRCNN 9-5-5 with the paper's squared error."""
    return Recipe("srcnn", scale, patch=24, loss="l2", learning_rate=3e-4)


def espcn(scale: int) -> Recipe:
    """ESPCN on luma with the paper's squared error."""
    return Recipe("espcn", scale, patch=24, loss="l2")


def edsr(scale: int) -> Recipe:
    """EDSR baseline: L1, 48x48 patches, batch 16, learning rate 1e-4, as in the paper."""
    return Recipe("edsr", scale, patch=48, steps=300_000, learning_rate=1e-4)


def ecbsr(scale: int) -> Recipe:
    """ECBSR-M10C32 as in the paper: L1, 64x64 patches, batch 32, learning rate 5e-4."""
    return Recipe("ecbsr", scale, patch=64, batch=32, steps=1_000_000, learning_rate=5e-4)


def vdsr(scale: int) -> Recipe:
    """VDSR: squared error on 41x41 patches, batch 64; Adam takes the place of SGD with clipped gradients."""
    return Recipe("vdsr", scale, patch=41, batch=64, steps=80_000, loss="l2", learning_rate=2e-4, clip=0.4)


def drrn(scale: int) -> Recipe:
    """DRRN: squared error on 31x31 patches, batch 128, gradients clipped; Adam in the place of SGD."""
    return Recipe("drrn", scale, patch=31, batch=128, steps=150_000, loss="l2", learning_rate=1e-4, clip=0.01)


def srvgg(scale: int) -> Recipe:
    """SRVGGNetCompact's first stage: L1, patches of 256x256 of the target at x4, learning rate 2e-4."""
    return Recipe("srvgg", scale, patch=64, batch=48, steps=400_000, learning_rate=2e-4)


def rrdbnet(scale: int) -> Recipe:
    """ESRGAN's RRDB-PSNR: L1, 128x128 patches of the target at x4, batch 16, learning rate 2e-4."""
    return Recipe("rrdbnet", scale, steps=1_000_000, learning_rate=2e-4)


def srresnet(scale: int) -> Recipe:
    """SRResNet: squared error, 96x96 patches of the target at x4, batch 16, learning rate 1e-4."""
    return Recipe("srresnet", scale, patch=24, steps=1_000_000, loss="l2", learning_rate=1e-4)


def carn(scale: int) -> Recipe:
    """CARN: L1, 64x64 patches, batch 64, learning rate 1e-4; for one scale, not the paper's three."""
    return Recipe("carn", scale, patch=64, batch=64, steps=600_000, learning_rate=1e-4)


def mdsr(scale: int) -> Recipe:
    """MDSR's settings, which are EDSR's; for one scale, not the paper's three."""
    return Recipe("mdsr", scale, patch=48, steps=1_000_000, learning_rate=1e-4)


def imdn(scale: int) -> Recipe:
    """IMDN: L1, 192x192 patches of the target, batch 16, learning rate 2e-4."""
    return Recipe("imdn", scale, patch=192 // scale, steps=1_000_000, learning_rate=2e-4)


def rcan(scale: int) -> Recipe:
    """RCAN: L1, 48x48 patches, batch 16, learning rate 1e-4."""
    return Recipe("rcan", scale, patch=48, steps=1_000_000, learning_rate=1e-4)


def han(scale: int) -> Recipe:
    """HAN: L1, 64x64 patches, batch 16, learning rate 1e-4."""
    return Recipe("han", scale, patch=64, steps=1_000_000, learning_rate=1e-4)


def safmn(scale: int) -> Recipe:
    """SAFMN: 64x64 patches, batch 64, learning rate 1e-3; L1 without the paper's term on the spectrum."""
    return Recipe("safmn", scale, patch=64, batch=64, steps=500_000)


_ALL = (
    fsrcnn,
    srcnn,
    espcn,
    edsr,
    ecbsr,
    vdsr,
    drrn,
    srvgg,
    rrdbnet,
    srresnet,
    carn,
    mdsr,
    imdn,
    safmn,
    rcan,
    han,
)
RECIPES = {recipe.__name__: recipe for recipe in _ALL}


def find(arch: str, scale: int) -> Recipe:
    """The recipe of a network."""
    if arch not in RECIPES:
        raise UsageError(f"no recipe to train '{arch}'", f"there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[arch](scale)


def assigned(recipe: Recipe, assignments: list[str]) -> Recipe:
    """The recipe with `field=value` texts applied; `config.name=value` changes the network itself.

    Values have the type of what they replace; numbers of a list are separated by commas.
    """
    for text in assignments:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"'{text}' is no field=value", "for example --set batch=32")
        if name.startswith("config."):
            config = {**recipe.config, name.removeprefix("config."): _plain(value)}
            recipe = replace(recipe, config=config)
        else:
            recipe = replace(recipe, **{name: _typed(recipe, name, value)})
    return recipe


def _plain(value: str) -> Any:
    """A JSON value where it is one, else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _typed(recipe: Recipe, name: str, value: str) -> Any:
    known = [field.name for field in fields(Recipe) if field.name not in ("arch", "scale", "config")]
    if name not in known:
        raise UsageError(f"recipes have no field '{name}'", f"there are: {', '.join(known)}, config.NAME")
    old = getattr(recipe, name)
    try:
        return tuple(float(part) for part in value.split(",")) if isinstance(old, tuple) else type(old)(value)
    except ValueError as error:
        raise UsageError(f"{name} cannot be '{value}'", f"it is {old!r} by default") from error


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with the fields that are given (not None) changed."""
    given = {name: value for name, value in changes.items() if value is not None}
    if given.get("loss", recipe.loss) not in ("l1", "l2"):
        raise UsageError(f"no loss called '{given['loss']}'", "there are: l1, l2")
    return replace(recipe, **given)
