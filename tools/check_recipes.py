"""Check every recipe at every scale by two steps of each phase, on small batches of the bundled samples.

    python tools/check_recipes.py [NAME ...] [--done FILE]

Networks have their full size; patches have at most 16 pixels (24 against a discriminator, up to x4; 48 for
networks that take an upscaled image), and a batch is two of them. The discriminator and the features of a
second phase first see a patch of the recipe's own size; teachers make four pairs. Without VGG19's weights,
random ones take their place, which is said. Exits with 1 if a recipe fails. With --done, recipes that passed
are written down, and left out the next time: a check that was interrupted continues.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from srcli import archs
from srcli.engine.device import Device
from srcli.engine.weights import hub
from srcli.errors import SrError
from srcli.imaging.image import Image, read_image, write_image
from srcli.train import TrainRequest, loop, recipes, runner, state, vgg
from srcli.train.pairs_store import SHARD
from srcli.train.recipe import Recipe, check_recipe

SAMPLES = Path(__file__).parent.parent / "srcli" / "samples"
CPU = Device("cpu", "float32", "chosen for this check")


def list_recipes(names: list[str]) -> Iterator[tuple[str, int]]:
    """Yield each recipe with the scales of its network."""
    for name in names or recipes.names():
        arch = recipes.find(name, 2).arch
        for scale in archs.traits(arch).scales:
            if scale > 1:
                yield name, scale


def shorten(recipe: Recipe) -> Recipe:
    """Return the recipe with two steps in each phase, on two small patches."""
    side = 48 if archs.traits(recipe.arch).pre_upsampled else 24 if recipe.gan and recipe.scale < 8 else 16
    gan = replace(recipe.gan, steps=2) if recipe.gan else None
    return check_recipe(
        replace(recipe, steps=2, batch=2, accumulate=1, patch=min(recipe.patch, side), patches=(), gan=gan)
    )


def find_images(recipe: Recipe, folder: Path) -> Path:
    """Return the bundled samples or, for patches larger than these, a mosaic of one of them in `folder`."""
    side = round(max((recipe.patch, *recipe.patches)) * max((recipe.scale, *recipe.scale_range)))
    pixels = read_image(SAMPLES / "astronaut.png").pixels
    if side <= min(pixels.shape[:2]):
        return SAMPLES
    count = -(-side // min(pixels.shape[:2]))
    mosaic = folder / f"mosaic-{count}"
    if not mosaic.exists():
        write_image(mosaic / "astronaut.png", Image(np.tile(pixels, (count, count, 1))))
    return mosaic


def check(recipe: Recipe, folder: Path) -> None:
    """Take the steps. Raises whatever goes wrong."""
    recipe = replace(recipe, pairs=min(recipe.pairs, SHARD))
    short = shorten(recipe)
    begun = state.start(short, CPU)
    for wanted in (recipe, short) if recipe.gan else (short,):
        request = TrainRequest((str(find_images(wanted, folder)),), recipe.arch, recipe.scale)
        setup = loop.Setup(wanted, CPU, folder, runner.open_draw(request, wanted, begun, CPU), [])
        if wanted is recipe:
            loop.rehearse(begun, setup)
    for start in (0, 2) if recipe.gan else (0,):
        begun.step = start
        work = loop.prepare(begun, setup)
        for _ in range(2):
            loop.take_step(begun, setup, work)


@cache
def load_random_features(layers: tuple[str, ...]) -> vgg.Features:
    """Return VGG19 with random weights."""
    torch.manual_seed(0)
    return vgg.Features(layers)


def main() -> int:
    """Check the recipes, a line for each; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="recipes; all by default")
    parser.add_argument("--done", type=Path, help="file of recipes that passed")
    options = parser.parse_args()
    if options.done:
        options.done.parent.mkdir(parents=True, exist_ok=True)
    done = set(options.done.read_text().splitlines()) if options.done and options.done.exists() else set()
    features = vgg.load_features
    try:
        hub.fetch_verified(vgg.WEIGHTS, vgg.SHA256)
    except SrError:
        print("VGG19 cannot be downloaded: random weights take its place")
        features = load_random_features
    failed = 0
    with tempfile.TemporaryDirectory() as folder, mock.patch("srcli.train.losses.load_features", features):
        for name, scale in list_recipes(options.names):
            if f"{name} x{scale}" in done:
                continue
            began = time.process_time()
            try:
                check(recipes.find(name, scale), Path(folder))
                outcome = "ok"
                if options.done:
                    with options.done.open("a") as file:
                        file.write(f"{name} x{scale}\n")
            except Exception as error:  # every kind of failure is one line of the report
                outcome, failed = f"FAILED: {type(error).__name__}: {error}", failed + 1
            print(
                f"{name} x{scale}  {time.process_time() - began:.1f} s of processor time  {outcome}",
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
