"""The batches of a run in turn: each has a generator of its own, so that any step can be the first one."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from srcli.imaging.degrade import degradations
from srcli.train import parallel, schedule
from srcli.train.augment import Batch
from srcli.train.recipe import Recipe
from srcli.train.store import StoreSpec
from srcli.train.threads import prefetch_single_threaded

# Takes the scale, the side of a patch of the network's input, the number of patches, and the generator.
Draw = Callable[[float, int, int, np.random.Generator], Batch]
# A scale and a batch of that scale.
ScaledBatch = tuple[float, Batch]


@dataclass(frozen=True)
class Turn:
    """The position of a batch: its step, its `part` of an accumulated step, and the retries before it."""

    step: int
    part: int
    nonfinite_retries: int

    def generator(self, seed: int) -> np.random.Generator:
        """Return the generator of this batch."""
        return np.random.default_rng((seed, self.step, self.part, self.nonfinite_retries))


def iterate_batches(recipe: Recipe, draw: Draw, step: int, nonfinite_retries: int) -> Iterator[ScaledBatch]:
    """Yield the batches from `step` on.

    If batches have to be degraded, a thread does it ahead while the network trains. Plain crops are cheaper
    than a thread that competes with the loop for Python's lock.
    """
    turns = (
        Turn(s, part, nonfinite_retries) for s in itertools.count(step) for part in range(recipe.accumulate)
    )
    make = partial(_draw_part, recipe, draw)
    degradation = degradations.parse_degradation(recipe.degrade)
    cheap = StoreSpec(recipe.scale, recipe.patch, degradation, large_only=bool(recipe.scale_range)).fixed
    return map(make, turns) if cheap else prefetch_single_threaded(make, turns, workers=1)


def _draw_part(recipe: Recipe, draw: Draw, turn: Turn) -> ScaledBatch:
    """Draw a batch as every process does, so that all stay in step; return this process's part."""
    rng, count = turn.generator(recipe.seed), parallel.world()
    scale = _scale(recipe, rng)
    whole = draw(scale, schedule.patch_at(recipe, turn.step), recipe.batch * count, rng)
    return scale, whole.part(parallel.rank(), count)


def _scale(recipe: Recipe, rng: np.random.Generator) -> float:
    if recipe.scale_range:
        low, high = recipe.scale_range
        return float(rng.uniform(low, high))
    return int(rng.choice(recipe.scales)) if recipe.scales else recipe.scale
