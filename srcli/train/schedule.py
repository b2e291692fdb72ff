"""How large a step is: learning rate over time, and gradients kept in bounds."""

import math

import torch
from torch import nn

from srcli.train.recipe import Phase, Recipe

# What cosine and one-cycle end with, relative to the peak.
_END = 0.01


def learning_rate(recipe: Recipe, phase: Phase, step: int) -> float:
    """The rate of a step of the run, which lies in `phase`."""
    within = step - phase.start
    if recipe.schedule == "one-cycle":
        return phase.learning_rate * _one_cycle(within / phase.steps)
    if within < recipe.warmup:
        return phase.learning_rate * (within + 1) / recipe.warmup
    if recipe.schedule == "step":
        passed = sum(within >= share * phase.steps for share in recipe.decay_at)
        return phase.learning_rate * recipe.decay**passed
    if recipe.schedule == "constant":
        return phase.learning_rate
    done = (within - recipe.warmup) / max(1, phase.steps - recipe.warmup)
    return phase.learning_rate * _cosine(1, _END, done)


def _one_cycle(done: float) -> float:
    """Up from a 25th in three tenths of the time, then down. https://arxiv.org/abs/1708.07120"""
    return _cosine(0.04, 1, done / 0.3) if done < 0.3 else _cosine(1, _END, (done - 0.3) / 0.7)


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def clip(network: nn.Module, recipe: Recipe, relative_rate: float) -> float:
    """Bound the gradients as the recipe says; their norm before that, which is not finite if one is not.

    `relative_rate` is the learning rate over its peak: VDSR lets gradients grow as the rate falls.
    """
    weights = [weight for weight in network.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
    if recipe.clip <= 0 or not bool(torch.isfinite(norm)):
        return float(norm)
    if recipe.clip_by == "norm":
        nn.utils.clip_grads_with_norm_(weights, recipe.clip, norm)
    else:
        bound = recipe.clip / (relative_rate if recipe.clip_by == "rate" else 1)
        nn.utils.clip_grad_value_(weights, bound)
    return float(norm)


def patch_at(recipe: Recipe, step: int) -> int:
    """The side of patches: `patches` take turns in the first half of the first phase, then `patch`."""
    turn = step * 2 * len(recipe.patches) // max(1, recipe.steps) if recipe.patches else 0
    return int(recipe.patches[turn]) if turn < len(recipe.patches) else recipe.patch
