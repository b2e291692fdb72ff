"""A training run's settings, as one frozen value, and how they are changed by text."""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn

from srcli import archs
from srcli.errors import UsageError
from srcli.imaging.degrade import degradations
from srcli.scales import ANY, format_scale
from srcli.train import augment, initial, losses

SCHEDULES = ("cosine", "step", "one-cycle", "constant", "linear")
OPTIMISERS = ("adam", "adamw", "sgd", "soap")
CLIPS = ("norm", "value", "rate")
PRECISIONS = ("float32", "bfloat16", "auto")
# "": decided by the teacher.
TARGETS = ("truth", "teacher", "mean", "")
DISCRIMINATORS = ("vgg", "esrgan", "deep", "unet")


@dataclass(frozen=True)
class Gan:
    """The phase after the first: its averaged weights against a `discriminator`, for `steps` more.

    `learning_rate` is multiplied by `decay` at the shares `decay_at` of the phase, or follows another
    `schedule`, in `cycles` if that is a cosine. `regions`: the standard deviation of grey values from which
    a pixel counts as textured; the discriminator sees only these pixels; 0: it sees all.
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

    Network: `arch`, `scale`, `config`; `name` of the result, the network's by default; `initial`: how weights
    are initialised, as in `initial.parse`; `init`: a weight file that training starts from.

    Data: `patch`: side of a crop in pixels of the network's input; `patches`: smaller sides to begin with,
    each for an equal share of the first half of the run; `batch`: crops per batch; `degrade` as in
    `imaging.degrade.parse`; `augment` as in `augment.parse`; `sharpen`: sharpening of the target images
    (`imaging.sharpen`); `rescale_factors`: sizes at which each training image is used, relative to its own.

    Scales: `scales`: all scales learned in one run, for networks with one set of weights for them.
    `scale_range`: for networks of any scale, the lowest and highest scale; each batch draws its own, and a
    square of `patch` output pixels is learned from each image; `scale` is then for validation only.
    `downscale_weight`: for networks that also downscale, the weight of (own downscaling - bicubic)^2; the
    network is then fed with its own downscaled image, rounded to 8-bit levels.

    Loss: `loss` as in `losses.parse`; `deep_supervision`: weight of the same loss on intermediate outputs, at
    the first and the last step; `gan`: a second phase with a discriminator.

    Teacher: `teacher`: a method to imitate, as a weight file or a name of `sr models`; `target`: what losses
    and discriminator compare with: `truth`, with the distance to the teacher at weight `distil` added, or
    `teacher`, or the `mean` of both; `pairs`: how many inputs are put through the teacher before training; 0:
    it runs at each step. By default the networks of `sr` do that, beside the truth; of other methods, 256
    pairs are the target.

    Optimiser: `learning_rate`: the peak, reached after `warmup` steps. `schedule`: `cosine` to the relative
    `floor` in `cycles` that each restart at the peak; `one-cycle`; `step`: multiplied by `decay` at the
    shares `decay_at` of all steps, not below the floor; `linear`: constant until the share `decay_at`, then
    linear to the floor; `constant`. `last_rate`: learning rate of the last layer, relative. `clip`: gradients
    are clipped to this `norm`, `value`, or value divided by the learning `rate` (`clip_by`); 0: not at all.
    `ema`: decay of the averaged weights, which are validated and saved; 0 saves the newest. `accumulate`:
    batches whose gradients are added up to one step; `precision` of the convolutions, `auto`: bfloat16 on
    processors that have matrix instructions for it (AMX), float32 elsewhere; `compile`: use torch.compile,
    which takes a minute and pays off in long runs.
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
    deep_supervision: tuple[float, float] = (0.0, 0.0)
    learning_rate: float = 1e-3
    last_rate: float = 1.0
    schedule: str = "cosine"
    warmup: int = 0
    decay: float = 0.5
    decay_at: tuple[float, ...] = ()
    floor: float = 0.01
    cycles: int = 1
    ema: float = 0.0
    clip: float = 0.0
    clip_by: str = "norm"
    accumulate: int = 1
    precision: str = "float32"
    compile: bool = False
    rescale_factors: tuple[float, ...] = (1.0,)
    patches: tuple[int, ...] = ()
    scales: tuple[int, ...] = ()
    scale_range: tuple[float, ...] = ()
    downscale_weight: float = 0.0
    seed: int = 0
    validate_every: int = 2_000
    init: str = ""
    teacher: str = ""
    target: str = ""
    distil: float = 1.0
    pairs: int = 0
    gan: Gan | None = None

    @property
    def title(self) -> str:
        """The name of the result."""
        return self.name or self.arch

    @property
    def label(self) -> str:
        """The scale of its weights as text: `x4`, or `any`."""
        return format_scale(self.kind)

    @property
    def kind(self) -> int:
        """The scale that its weights are for, or `ANY`."""
        return ANY if archs.traits(self.arch).any_scale else self.scale

    @property
    def all_steps(self) -> int:
        """The number of steps of both phases."""
        return self.steps + (self.gan.steps if self.gan else 0)


@dataclass(frozen=True)
class Phase:
    """A part of a run with a loss and a schedule of its own, from step `start` on."""

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
    """Return the phase that a step belongs to."""
    if recipe.gan and step >= recipe.steps:
        return second_phase(recipe.gan, recipe.steps)
    first = (recipe.loss, recipe.learning_rate, recipe.schedule, recipe.decay, recipe.decay_at, recipe.cycles)
    return Phase(0, recipe.steps, *first)


def second_phase(gan: Gan, start: int) -> Phase:
    """Return the phase against a discriminator."""
    rates = (gan.learning_rate, gan.schedule, gan.decay, gan.decay_at, gan.cycles)
    return Phase(start, gan.steps, gan.loss, *rates, gan.discriminator, gan.regions)


# Fields by the names that they had in the first runs, whose states, headers and records are still read.
FORMER_NAMES = {
    "zooms": "rescale_factors",
    "spread": "scale_range",
    "joint": "downscale_weight",
    "supervise": "deep_supervision",
}


def rename_fields(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a stored recipe with today's field names."""
    return {FORMER_NAMES.get(name, name): value for name, value in raw.items()}


def from_dict(raw: dict[str, Any]) -> Recipe:
    """Rebuild the recipe that `dataclasses.asdict` took apart. Raises `TypeError` for unknown fields."""
    gan = raw.get("gan")
    return Recipe(**{**rename_fields(raw), "gan": Gan(**gan) if gan else None})


def apply_changes(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Change the fields that are given (not None), and check the recipe."""
    return check_recipe(
        replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    )


def apply_assignments(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Apply `field=value` texts, and check the recipe.

    `config.name=value` changes the network, `gan.name=value` the second phase. Values have the type of what
    they replace; those of a list are separated by commas.
    """
    for text in assignments:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"'{text}' is not of the form FIELD=VALUE", "for example --set batch=32")
        recipe = _assign(recipe, name, value)
    _check_effect(check_recipe(recipe), [text.partition("=")[0] for text in assignments])
    return recipe


def _assign(recipe: Recipe, name: str, value: str) -> Recipe:
    outer, _, inner = name.partition(".")
    if outer == "config" and inner:
        return replace(recipe, config={**recipe.config, inner: _parse_json(value)})
    if outer == "gan" and inner:
        gan = recipe.gan or Gan()
        return replace(recipe, gan=replace(gan, **{inner: _parse_value(gan, inner, value)}))
    return replace(recipe, **{name: _parse_value(recipe, name, value)})


def _parse_json(value: str) -> Any:
    """Parse a JSON value; other text is returned unchanged."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _parse_value(owner: "Recipe | Gan", name: str, value: str) -> Any:
    known = [f.name for f in fields(owner) if f.name not in _GIVEN_ELSEWHERE]
    if name not in known:
        _raise_unknown(owner, name, known)
    old = getattr(owner, name)
    try:
        if isinstance(old, tuple):
            return tuple(json.loads(part) for part in value.split(",") if part)
        return _TRUTH[value.lower()] if isinstance(old, bool) else type(old)(value)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} cannot be '{value}'", f"use {_EXPECTED[type(old)]}") from error


# Fields that `--set` does not take, and how they are given.
_GIVEN_ELSEWHERE = {
    "arch": "name the network first: sr train NETWORK",
    "scale": "use -x",
    "config": "set one setting at a time, as in config.channels=1",
    "gan": "set one field at a time, as in gan.steps=1000",
}
_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "numbers with commas between them",
}


def _raise_unknown(owner: "Recipe | Gan", name: str, known: list[str]) -> NoReturn:
    """Raise `UsageError` for a field that does not exist, or is given in another way."""
    if isinstance(owner, Gan):
        raise UsageError(f"gan has no field '{name}'", f"there are: {', '.join(known)}")
    if name in _GIVEN_ELSEWHERE:
        raise UsageError(f"{name} cannot be changed with --set", _GIVEN_ELSEWHERE[name])
    near = difflib.get_close_matches(name.replace("-", "_"), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}, config.NAME, gan.NAME"
    raise UsageError(f"recipes have no field '{name}'", hint)


def check_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe. Raises `UsageError` if no run could use it."""
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise UsageError(
                f"no {name} called '{getattr(recipe, name)}'", f"there are: {', '.join(choices)}"
            )
    _check_numbers(recipe, "")
    _check_config(recipe)
    degradations.parse_degradation(recipe.degrade)
    initial.parse(recipe.initial)
    augment.parse(recipe.augment)
    if recipe.scale_range:
        _check_scale_range(recipe)
    if len(recipe.deep_supervision) != 2:
        raise UsageError("deep_supervision needs two weights", "as in 1,0: at the first and the last step")
    _check_scales(recipe)
    if recipe.pairs and recipe.scales:
        raise UsageError("pairs of a teacher are for one scale", "add --set scales=")
    if losses.is_adversarial(losses.parse(recipe.loss)):
        raise UsageError("an adversarial loss needs a second phase", "give it with --set gan.loss=...")
    if recipe.gan:
        _check_gan(recipe.gan)
    if not recipe.all_steps or (recipe.gan and not recipe.gan.steps):
        raise UsageError("a phase cannot have 0 steps", "use at least 1")
    return recipe


def _check_numbers(owner: "Recipe | Gan", prefix: str) -> None:
    """Raise `UsageError` for a number that its field cannot have; NaN fits none."""
    for name, (fits, hint) in _LIMITS.items():
        value = getattr(owner, name, ())
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float) or not fits(number):
                raise UsageError(f"{prefix}{name} cannot be {number}", hint)


def _check_scales(recipe: Recipe) -> None:
    """Raise `UsageError` if the network cannot learn all scales in one run."""
    known = archs.traits(recipe.arch)
    if not recipe.scales or known.pre_upsampled or known.any_scale:
        return
    tails = recipe.config.get("tails", ())
    if "tails" not in archs.settings(recipe.arch):
        raise UsageError(f"{recipe.arch} learns one scale in a run", "leave out scales")
    if not set(recipe.scales) <= set(tails):
        wanted = json.dumps(list(recipe.scales)).replace(" ", "")
        raise UsageError(f"{recipe.arch} has no tails for these scales", f"add --set config.tails={wanted}")


def _check_config(recipe: Recipe) -> None:
    """Raise `UsageError` for a setting that the network does not have, or a value that it cannot have."""
    known = archs.settings(recipe.arch)
    for name in recipe.config:
        if name not in known:
            raise UsageError(f"{recipe.arch} has no setting '{name}'", f"there are: {', '.join(known)}")
    if recipe.config.get("channels", 1) not in (1, 3):
        raise UsageError(
            f"config.channels cannot be {recipe.config['channels']}", "use 1 for luma, 3 for RGB"
        )
    if not recipe.config:
        return
    try:
        archs.check_config(recipe.arch, recipe.kind, recipe.config)
    except UsageError as error:
        raise UsageError(error.message, "set it with --set config.NAME=VALUE") from error


def _check_effect(recipe: Recipe, names: Iterable[str]) -> None:
    """Raise `UsageError` for a field that was set although nothing reads it."""
    idle = {
        "beta2": (recipe.optimiser == "sgd", "optimiser=sgd"),
        "decay": (recipe.schedule != "step", f"schedule={recipe.schedule}"),
        "decay_at": (recipe.schedule not in ("step", "linear"), f"schedule={recipe.schedule}"),
        "cycles": (recipe.schedule != "cosine", f"schedule={recipe.schedule}"),
        "floor": (recipe.schedule == "constant", "schedule=constant"),
        "clip_by": (recipe.clip == 0, "clip=0"),
        "distil": (
            not recipe.teacher or recipe.target in ("teacher", "mean"),
            f"target={recipe.target}" if recipe.teacher else "no teacher",
        ),
        "target": (not recipe.teacher, "no teacher"),
        "pairs": (not recipe.teacher, "no teacher"),
    }
    for name in names:
        if name in idle and idle[name][0]:
            raise UsageError(f"{name} has no effect with {idle[name][1]}", f"leave out {name}")


def _check_gan(gan: Gan) -> None:
    """Raise `UsageError` for an invalid second phase."""
    _check_numbers(gan, "gan.")
    for name, choices in (("discriminator", DISCRIMINATORS), ("schedule", SCHEDULES)):
        if getattr(gan, name) not in choices:
            raise UsageError(f"no {name} called '{getattr(gan, name)}'", f"there are: {', '.join(choices)}")
    losses.parse(gan.loss)


def _check_scale_range(recipe: Recipe) -> None:
    """Raise `UsageError` for an invalid range, or for settings that need one fixed scale."""
    if (
        len(recipe.scale_range) != 2
        or not 1 <= recipe.scale_range[0] <= recipe.scale_range[1] <= LARGEST_SCALE
    ):
        found = ",".join(f"{scale:g}" for scale in recipe.scale_range)
        raise UsageError(
            f"scale_range cannot be {found}", f"give two scales from 1 to {LARGEST_SCALE}, as in 1,4"
        )
    if not archs.traits(recipe.arch).any_scale:
        raise UsageError(
            f"{recipe.arch} cannot be trained on a range of scales", "leave out scale_range, or set scales"
        )
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
        raise UsageError(f"{name}={getattr(recipe, name)} needs one scale", "add --set scale_range=")


LARGEST_SCALE = 32
_Limit = tuple[Callable[[float], bool], str]
_COUNT: _Limit = (lambda x: 1 <= x <= 10**12, "use at least 1")
_POSITIVE: _Limit = (lambda x: 0 < x < math.inf, "use a number above 0")
_NOT_NEGATIVE: _Limit = (lambda x: 0 <= x < math.inf, "use 0 or a number above it")
_BELOW_ONE: _Limit = (lambda x: 0 <= x < 1, "use 0 or more, and less than 1")
_SHARE: _Limit = (lambda x: 0 <= x <= 1, "use 0 to 1")
_LIMITS: dict[str, _Limit] = {
    **dict.fromkeys(
        ("patch", "patches", "batch", "accumulate", "cycles", "validate_every", "scales"), _COUNT
    ),
    **dict.fromkeys(("learning_rate", "decay"), (lambda x: 0 < x <= 1, "use a number above 0, up to 1")),
    **dict.fromkeys(("decay_at", "floor"), _SHARE),
    **dict.fromkeys(("beta2", "ema", "weight_decay"), _BELOW_ONE),
    **dict.fromkeys(("warmup", "clip", "distil", "downscale_weight", "deep_supervision"), _NOT_NEGATIVE),
    "pairs": (lambda x: 0 <= x <= 10**7, "use 0 to 10000000"),
    "steps": (lambda x: 0 <= x <= 10**12, "use at least 1"),
    "last_rate": _POSITIVE,
    "rescale_factors": (lambda x: 0 < x <= 4, "use numbers above 0, up to 4"),
    "seed": (lambda x: 0 <= x < 2**63, "use 0 to 9223372036854775807"),
    "sharpen": (lambda x: 0 <= x <= 2, "use 0 to 2; Real-ESRGAN has 0.5"),
    "regions": (lambda x: 0 <= x < 1, "use 0 or more, and less than 1; BebyGAN has 0.025"),
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CHOICES = {
    "schedule": SCHEDULES,
    "optimiser": OPTIMISERS,
    "clip_by": CLIPS,
    "precision": PRECISIONS,
    "target": TARGETS,
}
