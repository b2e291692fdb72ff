"""The number of steps that fit into a time: from trial steps on a copy of the state, then from the run."""

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
# How often in a run the steps left are fitted to the time left.
_ADAPTATIONS = 50


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


class TimeLimit:
    """Fits the steps left to the time left whenever a fiftieth of a run is done.

    The machine may be slower than in the trial steps, for a while or until the end. A run never gets more
    steps than were planned.
    """

    def __init__(self, plan: Recipe, speed: Speed, end: float, clock: Clock = time.perf_counter) -> None:
        self._plan, self._speed, self._end, self._clock = plan, speed, end, clock
        self._step, self._time, self._slowdown = 0, clock(), 1.0

    def adapt(self, recipe: Recipe, step: int) -> Recipe:
        """Return the recipe with as many steps after `step` as fit; both phases keep their proportion."""
        if step - self._step < max(1, recipe.all_steps // _ADAPTATIONS):
            return recipe
        now = self._clock()
        pace = (now - self._time) / self._expect(recipe, self._step, step)
        self._slowdown = (self._slowdown + pace) / 2  # a hiccup is forgotten
        self._step, self._time = step, now
        left = self._slowdown * self._expect(recipe, step, recipe.all_steps)
        share = max(0.0, self._end - now) * (1 - _RESERVE) / max(left, 1e-9)
        (share,) = parallel.broadcast_numbers([share])
        if step < recipe.steps:
            first = step + max(1, int((recipe.steps - step) * share))
            recipe = replace(recipe, steps=min(first, self._plan.steps))
        if recipe.gan and self._plan.gan:
            done = max(0, step - recipe.steps)
            second = done + max(1, int((recipe.gan.steps - done) * share))
            recipe = replace(recipe, gan=replace(recipe.gan, steps=min(second, self._plan.gan.steps)))
        return recipe

    def _expect(self, recipe: Recipe, start: int, end: int) -> float:
        """Return the seconds of the steps and validations from `start` to `end`, by the trial steps."""
        first = min(end, recipe.steps) - min(start, recipe.steps)
        validations = end // recipe.validate_every - start // recipe.validate_every
        ends = {recipe.steps, recipe.all_steps}
        validations += sum(start < last <= end and last % recipe.validate_every > 0 for last in ends)
        seconds = first * self._speed.first + (end - start - first) * self._speed.second
        return seconds + validations * self._speed.validation


def estimate_other(other: Recipe, measured: Recipe, speed: Speed) -> float:
    """Return roughly how long another recipe of the same network takes: its steps, by their pixels."""
    pixels = other.patch**2 * other.batch * other.accumulate
    factor = pixels / (measured.patch**2 * measured.batch * measured.accumulate)
    second = other.gan.steps * (speed.second or speed.first) if other.gan else 0.0
    return factor * (other.steps * (speed.first or speed.second) + second)
