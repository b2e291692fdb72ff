"""The number of steps that fit into a time, from a few trial steps on a copy of the state."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

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
# Saving, plotting and slower steps than those measured.
_RESERVE = 0.05


@dataclass(frozen=True)
class Speed:
    """Seconds of a step in the first and the second phase, and of a validation."""

    first: float
    second: float
    validation: float


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
