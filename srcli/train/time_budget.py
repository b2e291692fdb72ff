"""The number of steps that fit into a time, from a few trial steps on a copy of the state."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from srcli.datasets import Picture
from srcli.train import loop, parallel
from srcli.train.loop import Setup
from srcli.train.recipe import Recipe
from srcli.train.state import State

Clock = Callable[[], float]
# Trial steps in each phase; fewer if they would take more than this share of the time.
_TRIALS = 20
_TRIAL_SHARE = 0.05
# Validations, unless these would take more than this share of the time.
_VALIDATIONS = 8
_VALIDATION_SHARE = 0.15
# The side of a trial validation, and the smallest of any, in pixels of the network's input.
_PROBE = 48
# Saving, plotting and slower steps than those measured.
_RESERVE = 0.05


@dataclass(frozen=True)
class Speed:
    """Seconds of a step in the first and the second phase, and of a validation."""

    first: float
    second: float
    validation: float


def fit_validation(begun: State, setup: Setup, seconds: float, clock: Clock = time.perf_counter) -> int:
    """Return the side of the square of each image on which a validation fits into its share of `seconds`.

    0: whole images fit. A large network takes minutes for them on a processor, and learns nothing meanwhile.
    """
    scale = setup.recipe.scale
    probe = crop_pictures(setup.pictures[:1], scale, _PROBE * scale)
    for _ in range(2):  # the first one allocates memory
        began = clock()
        loop.validate(begun, replace(setup, pictures=probe))
        passed = clock() - began
    per_pixel = passed / _count_pixels(probe)
    budget = seconds * _VALIDATION_SHARE
    side = 0
    if per_pixel * _count_pixels(setup.pictures) > budget:
        affordable = int(math.sqrt(budget / per_pixel / len(setup.pictures)))
        side = max(_PROBE, affordable // scale) * scale
    return int(parallel.broadcast_numbers([side])[0])


def crop_pictures(pictures: Sequence[Picture], scale: int, side: int) -> list[Picture]:
    """Return the central `side`x`side` pixels of each picture, or less where it is smaller."""
    return [_crop_picture(picture, scale, side // scale) for picture in pictures]


def _crop_picture(picture: Picture, scale: int, side: int) -> Picture:
    """Return the central square of `side` pixels of the input."""
    height, width = (length // scale for length in picture.pixels.shape[:2])
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    lr = None if picture.lr is None else picture.lr[top : top + side, left : left + side]
    rows, columns = (slice(start * scale, (start + side) * scale) for start in (top, left))
    return replace(picture, pixels=picture.pixels[rows, columns], lr=lr)


def _count_pixels(pictures: Sequence[Picture]) -> int:
    return sum(picture.pixels.shape[0] * picture.pixels.shape[1] for picture in pictures)


def measure(begun: State, setup: Setup, seconds: float, clock: Clock = time.perf_counter) -> Speed:
    """Take trial steps in each phase, for a part of `seconds` by the clock; the state stays as it is."""
    trial = copy.deepcopy(begun)
    share = seconds * _TRIAL_SHARE
    first = _time_steps(trial, setup, share, clock) if setup.recipe.steps else 0.0
    second = 0.0
    if setup.recipe.gan:
        trial.step = setup.recipe.steps
        second = _time_steps(trial, setup, share, clock)
    began = clock()
    loop.validate(trial, setup)
    found = Speed(first, second, clock() - began)
    return Speed(*parallel.broadcast_numbers([found.first, found.second, found.validation]))


def _time_steps(trial: State, setup: Setup, seconds: float, clock: Clock) -> float:
    """Return the seconds of a step, without the first one, which allocates memory."""
    work = loop.prepare(trial, setup)
    times: list[float] = []
    while len(times) <= _TRIALS and (len(times) < 2 or sum(times) < seconds):
        began = clock()
        float(loop.take_step(trial, setup, work).norm)  # wait for a GPU
        times.append(clock() - began)
    return sum(times[1:]) / (len(times) - 1)


def fit(recipe: Recipe, speed: Speed, seconds: float) -> Recipe:
    """Return the recipe with as many steps as fit into `seconds`; both phases keep their proportion."""
    share = recipe.gan.steps / recipe.all_steps if recipe.gan else 0.0
    affordable = int(seconds * _VALIDATION_SHARE / max(speed.validation, 1e-9))
    validations = max(1, min(_VALIDATIONS, affordable))
    left = max(0.0, seconds * (1 - _RESERVE) - validations * speed.validation)
    steps = max(1, int(left / ((1 - share) * speed.first + share * speed.second)))
    second = max(1, round(steps * share)) if recipe.gan else 0
    first = max(1, steps - second) if recipe.steps else 0
    return replace(
        recipe,
        steps=first,
        warmup=min(recipe.warmup, steps // 10),
        validate_every=max(1, -(-steps // validations)),
        gan=replace(recipe.gan, steps=second) if recipe.gan else None,
    )


def estimate(recipe: Recipe, speed: Speed) -> float:
    """Return the seconds that all steps and validations of a recipe take."""
    steps = recipe.steps * speed.first + (recipe.gan.steps * speed.second if recipe.gan else 0.0)
    return steps + recipe.all_steps / recipe.validate_every * speed.validation


def estimate_other(other: Recipe, measured: Recipe, speed: Speed) -> float:
    """Return roughly how long another recipe of the same network takes: its steps, by their pixels."""
    pixels = other.patch**2 * other.batch * other.accumulate
    factor = pixels / (measured.patch**2 * measured.batch * measured.accumulate)
    second = other.gan.steps * (speed.second or speed.first) if other.gan else 0.0
    return factor * (other.steps * (speed.first or speed.second) + second)
