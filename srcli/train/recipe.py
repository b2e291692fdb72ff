"""A training run's settings, as one frozen value, and how they are changed by text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from srcli import archs
from srcli.errors import UsageError
from srcli.imaging.degrade import degradations
from srcli.scales import ANY, format_scale
from srcli.train import augment, initial, losses

SCHEDULES = ("cosine", "step", "one-cycle", "constant", "linear")
OPTIMISERS = ("adam", "adamw", "sgd", "soap")
CLIPS = ("norm", "value", "rate")
PRECISIONS = ("float32", "bfloat16")
DISCRIMINATORS = ("vgg", "deep", "unet")


@dataclass(frozen=True)
class Gan:
    """The phase after the first: the same network against a `discriminator`, for `steps` more.

    `learning_rate` is multiplied by `decay` at the shares `decay_at` of the phase, or follows another
    `schedule`, in `cycles` if that is a cosine. `regions`: the standard deviation of grey values from which
    on there is texture, and only that is what the discriminator sees; 0: it sees all.
    """

    steps: int = 400_000
    loss: str = "l1=0.01,content=1,adversarial:ragan=0.005"
    learning_rate: float = 1e-4
    decay: float = 0.5
    decay_at: tuple[float, ...] = ()
    discriminator: str = "vgg"
    schedule: str = "step"
    cycles: int = 1
    regions: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run.

    `name` of the result, the network's by default; `loss` as in `losses.parse`; `degrade` as in
    `imaging.degrade.parse`; `augment` as in `augment.parse`; `sharpen`: how much the images that are learned
    from are sharpened first (`imaging.sharpen`).
    `patch`: pixels of the network's input on a side; `patches`: sides that the run begins with, each for an
    equal share of its first half; `zooms`: sizes at which each image is learned from, relative to its own.
    `scales`: others that are learned in the same run, for networks that have one set of weights for them.
    `spread`: for networks of any scale, the lowest and the highest scale, between which each batch draws its
    own; of each image a square of `patch` output pixels is learned. `scale` is then for validation.
    `joint`: of a network that reduces images too, the weight of (its reduction - bicubic's)^2; it is then fed
    with what it has reduced itself, rounded to 8-bit levels, and learns all output pixels.
    `initial`: how weights begin, as in `initial.parse`.
    `supervise`: weight of the loss of what a network shows before its end, at the first and the last step.
    `learning_rate`: the peak, reached after `warmup` steps; `schedule` brings it to the relative `floor`
    (`cosine`, in `cycles` that each begin at the peak, or `one-cycle`), or multiplies it by `decay` at the
    shares `decay_at` of all steps, down to the floor (`step`), or holds it until the share `decay_at`
    and then falls linearly to the floor (`linear`); `last_rate`: that of the last layer, relative.
    `clip`: the largest gradient, by `norm`, by `value`, or by value over the learning `rate`; 0: none.
    `ema`: decay of the averaged weights that are validated and kept; 0 keeps the newest.
    `accumulate`: batches whose gradients make one step; `precision`: of the network's convolutions;
    `compile`: by torch.compile, which takes a minute and pays in long runs.
    `init`: weights that training starts from; `teacher`: weights that are imitated, at weight `distil`.
    """

    arch: str
    scale: int
    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    patch: int = 32
    batch: int = 16
    steps: int = 100_000
    loss: str = "l1"
    degrade: str = "bicubic"
    augment: str = "flip,rotate"
    sharpen: float = 0.0
    optimiser: str = "adam"
    beta2: float = 0.999
    weight_decay: float = 0.0
    initial: str = "own"
    supervise: tuple[float, float] = (0.0, 0.0)
    learning_rate: float = 1e-3
    last_rate: float = 1.0
    schedule: str = "cosine"
    warmup: int = 0
    decay: float = 0.5
    decay_at: tuple[float, ...] = ()
    floor: float = 0.01
    cycles: int = 1
    ema: float = 0.999
    clip: float = 0.0
    clip_by: str = "norm"
    accumulate: int = 1
    precision: str = "float32"
    compile: bool = False
    zooms: tuple[float, ...] = (1.0,)
    patches: tuple[int, ...] = ()
    scales: tuple[int, ...] = ()
    spread: tuple[float, ...] = ()
    joint: float = 0.0
    seed: int = 0
    validate_every: int = 2_000
    init: str = ""
    teacher: str = ""
    distil: float = 1.0
    gan: Gan | None = None

    @property
    def title(self) -> str:
        """What the result is called."""
        return self.name or self.arch

    @property
    def label(self) -> str:
        """What its weights are for: `x4`, or `any` scale."""
        return format_scale(self.kind)

    @property
    def kind(self) -> int:
        """The scale that its weights are for, or `ANY`."""
        return ANY if archs.traits(self.arch).any_scale else self.scale

    @property
    def all_steps(self) -> int:
        """Of both phases."""
        return self.steps + (self.gan.steps if self.gan else 0)


@dataclass(frozen=True)
class Phase:
    """A stretch of a run with one loss and one schedule of its own, from step `start` on."""

    start: int
    steps: int
    loss: str
    learning_rate: float
    schedule: str
    decay: float
    decay_at: tuple[float, ...]
    cycles: int = 1
    discriminator: str = ""
    regions: float = 0.0


def phase_at(recipe: Recipe, step: int) -> Phase:
    """The phase that a step belongs to."""
    if recipe.gan and step >= recipe.steps:
        return second_phase(recipe.gan, recipe.steps)
    first = (recipe.loss, recipe.learning_rate, recipe.schedule, recipe.decay, recipe.decay_at, recipe.cycles)
    return Phase(0, recipe.steps, *first)


def second_phase(gan: Gan, start: int) -> Phase:
    """The phase against a discriminator."""
    rates = (gan.learning_rate, gan.schedule, gan.decay, gan.decay_at, gan.cycles)
    return Phase(start, gan.steps, gan.loss, *rates, gan.discriminator, gan.regions)


def from_dict(raw: dict[str, Any]) -> Recipe:
    """The recipe that `dataclasses.asdict` took apart. Raises `TypeError` for another one's fields."""
    gan = raw.get("gan")
    return Recipe(**{**raw, "gan": Gan(**gan) if gan else None})


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with the fields that are given (not None) changed, and checked."""
    return checked(replace(recipe, **{name: value for name, value in changes.items() if value is not None}))


def assigned(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with `field=value` texts applied, and checked.

    `config.name=value` changes the network, `gan.name=value` the second phase. Values have the type of what
    they replace; those of a list are separated by commas.
    """
    for text in assignments:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"'{text}' is no field=value", "for example --set batch=32")
        recipe = _assigned(recipe, name, value)
    return checked(recipe)


def _assigned(recipe: Recipe, name: str, value: str) -> Recipe:
    outer, _, inner = name.partition(".")
    if outer == "config" and inner:
        return replace(recipe, config={**recipe.config, inner: _plain(value)})
    if outer == "gan" and inner:
        gan = recipe.gan or Gan()
        return replace(recipe, gan=replace(gan, **{inner: _typed(gan, inner, value)}))
    return replace(recipe, **{name: _typed(recipe, name, value)})


def _plain(value: str) -> Any:
    """A JSON value where it is one, else the text itself."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _typed(owner: "Recipe | Gan", name: str, value: str) -> Any:
    known = [f.name for f in fields(owner) if f.name not in ("arch", "scale", "config", "gan")]
    if name not in known:
        raise UsageError(
            f"recipes have no field '{name}'", f"there are: {', '.join(known)}, config.NAME, gan.NAME"
        )
    old = getattr(owner, name)
    try:
        if isinstance(old, tuple):
            return tuple(json.loads(part) for part in value.split(",") if part)
        return _TRUTH[value.lower()] if isinstance(old, bool) else type(old)(value)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} cannot be '{value}'", f"it is {old!r} by default") from error


def checked(recipe: Recipe) -> Recipe:
    """The recipe itself. Raises `UsageError` for what no run could be made of."""
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise UsageError(
                f"no {name} called '{getattr(recipe, name)}'", f"there are: {', '.join(choices)}"
            )
    for name in ("patch", "batch", "steps", "accumulate", "cycles", "validate_every"):
        if getattr(recipe, name) < 1:
            raise UsageError(f"{name} cannot be {getattr(recipe, name)}", "give at least 1")
    if not 0 <= recipe.sharpen <= 2:
        raise UsageError(f"sharpen cannot be {recipe.sharpen:g}", "give 0 to 2; Real-ESRGAN takes 0.5")
    degradations.parse_degradation(recipe.degrade)
    initial.parse(recipe.initial)
    augment.parse(recipe.augment)
    if recipe.spread:
        _check_spread(recipe)
    if losses.is_adversarial(losses.parse(recipe.loss)):
        raise UsageError("an adversarial loss needs a second phase", "give it with --set gan.loss=...")
    if recipe.gan:
        _check_gan(recipe.gan)
    return recipe


def _check_gan(gan: Gan) -> None:
    """Raise `UsageError` for a second phase that there can't be."""
    for name, choices in (("discriminator", DISCRIMINATORS), ("schedule", SCHEDULES)):
        if getattr(gan, name) not in choices:
            raise UsageError(f"no {name} called '{getattr(gan, name)}'", f"there are: {', '.join(choices)}")
    if gan.cycles < 1:
        raise UsageError(f"gan.cycles cannot be {gan.cycles}", "give at least 1")
    if not 0 <= gan.regions < 1:
        raise UsageError(f"gan.regions cannot be {gan.regions:g}", "give 0 to 1; BebyGAN takes 0.025")
    losses.parse(gan.loss)


def _check_spread(recipe: Recipe) -> None:
    """Raise `UsageError` for a spread of scales that is none, or with what needs whole scales."""
    if len(recipe.spread) != 2 or not 1 <= recipe.spread[0] <= recipe.spread[1] <= LARGEST_SPREAD:
        found = ",".join(f"{scale:g}" for scale in recipe.spread)
        raise UsageError(f"spread cannot be {found}", f"two scales from 1 to {LARGEST_SPREAD}, as in 1,4")
    if not archs.traits(recipe.arch).any_scale:
        raise UsageError(f"{recipe.arch} takes no spread of scales", "leave it away, or list scales")
    chance = augment.parse(recipe.augment)
    against = {
        "degrade": recipe.degrade != "bicubic",
        "augment": any((chance.mixup, chance.cutmix, chance.cutblur)),
        "loss": "cycle" in recipe.loss,
        "gan": recipe.gan is not None,
        "teacher": bool(recipe.teacher),
        "compile": recipe.compile,
    }
    for name in (name for name, found in against.items() if found):
        raise UsageError(f"{name}={getattr(recipe, name)} needs one scale", "add --set spread=")


LARGEST_SPREAD = 32
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CHOICES = {
    "schedule": SCHEDULES,
    "optimiser": OPTIMISERS,
    "clip_by": CLIPS,
    "precision": PRECISIONS,
}
