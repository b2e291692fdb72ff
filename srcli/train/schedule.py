"""Schedules of learning rate, supervision and patch size, and gradient clipping."""

import math

from torch import Tensor, nn

from srcli.train.recipe import Phase, Recipe


def learning_rate(recipe: Recipe, phase: Phase, step: int) -> float:
    """Return the learning rate of a step of the run, which lies in `phase`."""
    return phase.learning_rate * _relative(recipe, phase, step - phase.start)


def _relative(recipe: Recipe, phase: Phase, within: int) -> float:
    """Compute the rate of a step of the phase, relative to its peak."""
    if phase.schedule == "one-cycle":
        return _one_cycle(within / phase.steps, recipe.floor)
    if within < recipe.warmup:
        return (within + 1) / recipe.warmup
    if phase.schedule == "step":
        passed = sum(within >= share * phase.steps for share in phase.decay_at)
        return max(phase.decay**passed, recipe.floor)
    if phase.schedule == "constant":
        return 1.0
    if phase.schedule == "linear":
        hold = phase.decay_at[0] if phase.decay_at else 0.0
        done = max(0.0, within / phase.steps - hold) / (1 - hold)
        return 1 + (recipe.floor - 1) * done
    done = (within - recipe.warmup) / max(1, phase.steps - recipe.warmup)
    return _cosine(1, recipe.floor, _within_cycle(done, phase.cycles))


def _within_cycle(done: float, cycles: int) -> float:
    """Return the share of the current cycle that is done."""
    return done * cycles - min(int(done * cycles), cycles - 1)


def _one_cycle(done: float, floor: float) -> float:
    """Rise from 1/25 in the first 30 % of the time, then fall. https://arxiv.org/abs/1708.07120"""
    return _cosine(0.04, 1, done / 0.3) if done < 0.3 else _cosine(1, floor, (done - 0.3) / 0.7)


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def clip(network: nn.Module, recipe: Recipe, rate: float) -> Tensor:
    """Clip the gradients as the recipe says; return their norm before, not finite if one is not.

    `rate` is the learning rate: VDSR lets gradients grow as it falls. Nothing waits for a GPU.
    """
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if recipe.clip <= 0:
        return norm
    if recipe.clip_by == "norm":
        nn.utils.clip_grads_with_norm_(weights, recipe.clip, norm)
    else:
        bound = recipe.clip / (rate if recipe.clip_by == "rate" else 1)
        nn.utils.clip_grad_value_(weights, bound)
    return norm


def supervision(recipe: Recipe, step: int) -> float:
    """Return the weight of intermediate outputs: linear from the first to the second `deep_supervision`."""
    first, last = recipe.deep_supervision
    return first + (last - first) * min(1.0, step / max(1, recipe.steps))


def patch_at(recipe: Recipe, step: int) -> int:
    """Return the side of patches: `patches` in turn over the first half of the first phase, then `patch`."""
    turn = step * 2 * len(recipe.patches) // max(1, recipe.steps) if recipe.patches else 0
    return int(recipe.patches[turn]) if turn < len(recipe.patches) else recipe.patch
