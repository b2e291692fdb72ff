"""The batches of a run in turn: each has a generator of its own, so that any step can be the first one."""

import itertools
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset

from srcli.imaging.degrade import degradations
from srcli.imaging.degrade.steps import Rng
from srcli.train import parallel, schedule
from srcli.train.augment import WHOLE, Batch, Share
from srcli.train.recipe import Recipe
from srcli.train.store import StoreSpec
from srcli.train.threads import prefetch_single_threaded

# Batches that each process draws ahead.
_AHEAD = 2
# A scale and a batch of that scale.
ScaledBatch = tuple[float, Batch]


class Draw(Protocol):
    """A function that draws batches."""

    def __call__(self, scale: float, patch: int, count: int, rng: Rng, share: Share = WHOLE) -> Batch:
        """Draw a share of `count` patches; `patch`: their side in pixels of the network's input."""


@dataclass(frozen=True)
class Turn:
    """The position of a batch: its step, its `part` of an accumulated step, and the retries before it."""

    step: int
    part: int
    nonfinite_retries: int

    def generator(self, seed: int) -> np.random.Generator:
        """Return the generator of this batch."""
        return np.random.default_rng((seed, self.step, self.part, self.nonfinite_retries))


@dataclass(frozen=True)
class TurnDataset(Dataset[ScaledBatch]):
    """All batches of a recipe by their turn, for one of several training processes."""

    recipe: Recipe
    draw: Draw
    share: Share = WHOLE

    def __getitem__(self, turn: Turn) -> ScaledBatch:
        """Draw this process's share; scale and patches are the same in all processes."""
        rng = turn.generator(self.recipe.seed)
        scale = _draw_scale(self.recipe, rng)
        patch, count = schedule.patch_at(self.recipe, turn.step), self.recipe.batch * self.share.count
        return scale, self.draw(scale, patch, count, rng, self.share)


def iterate_batches(
    recipe: Recipe, draw: Draw, step: int, nonfinite_retries: int, workers: int = 0
) -> Iterator[ScaledBatch]:
    """Yield the batches from `step` on.

    If batches have to be degraded, that is done ahead while the network trains, by `workers` processes, or by
    a thread if there are none. Plain crops are cheaper than a thread that competes with the loop for Python's
    lock.
    """
    turns = (
        Turn(s, part, nonfinite_retries) for s in itertools.count(step) for part in range(recipe.accumulate)
    )
    dataset = TurnDataset(recipe, draw, Share(parallel.rank(), parallel.world()))
    if has_fixed_inputs(recipe):
        return map(dataset.__getitem__, turns)
    if workers:
        return _load_by_processes(dataset, turns, workers)
    return prefetch_single_threaded(dataset.__getitem__, turns, workers=1)


def has_fixed_inputs(recipe: Recipe) -> bool:
    """Return whether batches are plain crops, because the store holds the inputs too."""
    degradation = degradations.parse_degradation(recipe.degrade)
    fixed = StoreSpec(recipe.scale, recipe.patch, degradation, large_only=bool(recipe.scale_range)).fixed
    return fixed or bool(recipe.pairs)


def _load_by_processes(dataset: TurnDataset, turns: Iterable[Turn], workers: int) -> Iterator[ScaledBatch]:
    """Yield the batches in order. Processes are started afresh: a GPU in use does not survive a fork."""
    return iter(
        DataLoader(
            dataset,
            batch_size=None,
            sampler=turns,
            num_workers=workers,
            prefetch_factor=_AHEAD,
            collate_fn=_keep,
            worker_init_fn=_ignore_interrupts,
            multiprocessing_context="spawn",
        )
    )


def _keep(batch: Any) -> Any:
    return batch


def _ignore_interrupts(number: int) -> None:
    """Leave Ctrl-C to the training process, which saves its state and then stops the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_scale(recipe: Recipe, rng: Rng) -> float:
    if recipe.scale_range:
        low, high = recipe.scale_range
        return float(rng.uniform(low, high))
    return int(rng.choice(recipe.scales)) if recipe.scales else recipe.scale
