"""The training options that authors published, beside our recipes: benchmarks/published_recipes.csv."""

import csv
from dataclasses import dataclass
from pathlib import Path

from srcli import archs
from srcli.train import recipes
from srcli.train.recipe import Recipe

FILE = Path(__file__).parent.parent / "benchmarks" / "published_recipes.csv"


@dataclass(frozen=True)
class Published:
    """One recipe's options as its authors published them, at one scale.

    `options`: those that they give, by their names in the file: `crop` is in pixels of high resolution,
    `schedule` in steps.
    """

    recipe: str
    scale: int
    source: str
    options: dict[str, str]


def read_published() -> dict[str, Published]:
    """Read the published options by the names of our recipes."""
    with FILE.open(newline="") as file:
        rows = [{name: text for name, text in row.items() if text} for row in csv.DictReader(file)]
    found = (Published(row.pop("recipe"), int(row.pop("scale")), row.pop("source"), row) for row in rows)
    return {published.recipe: published for published in found}


def find_differences(published: Published) -> dict[str, tuple[str, str]]:
    """Return the options that differ, each as ours and theirs."""
    ours = describe_options(recipes.find(published.recipe, published.scale))
    pairs = {name: (ours[name], theirs) for name, theirs in published.options.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def describe_options(recipe: Recipe) -> dict[str, str]:
    """Write the first phase of a recipe in the way of the file."""
    upscaled = archs.traits(recipe.arch).pre_upsampled
    return {
        "loss": recipe.loss,
        "crop": str(recipe.patch if upscaled else recipe.patch * recipe.scale),
        "batch": str(recipe.batch * recipe.accumulate),
        "steps": str(recipe.steps),
        "rate": f"{recipe.learning_rate:g}",
        "schedule": _describe_schedule(recipe),
        "beta2": f"{recipe.beta2:g}",
        "weight_decay": f"{recipe.weight_decay:g}",
        "ema": f"{recipe.ema:g}",
    }


def _describe_schedule(recipe: Recipe) -> str:
    if recipe.schedule == "cosine":
        shape = f"{recipe.cycles} cosines" if recipe.cycles > 1 else "cosine"
        return f"{shape} to {recipe.floor * recipe.learning_rate:g}"
    if recipe.schedule == "step":
        steps = (str(round(share * recipe.steps)) for share in recipe.decay_at)
        return f"x{recipe.decay:g} at {' '.join(steps)}"
    return recipe.schedule


def describe_comparison(published: Published) -> str:
    """Return a sentence that links the authors' options and says what differs."""
    pairs = find_differences(published)
    parts = [f"{name.replace('_', ' ')} {ours} (theirs {theirs})" for name, (ours, theirs) in pairs.items()]
    about = "no difference" if not parts else "; ".join(parts)
    return f"Compared with [the authors' options]({published.source}) at x{published.scale}: {about}."
