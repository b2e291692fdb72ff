"""Short training runs."""

from pathlib import Path

from helpers.networks import CPU
from srcli import archs, datasets
from srcli.imaging.degrade import degradations
from srcli.train import augment, loop, recipe, recipes, state
from srcli.train.events import StepDone
from srcli.train.feed import Drawer, Feed
from srcli.train.sources import parse
from srcli.train.store import StoreSpec, open_store

SHORT = {"patch": 12, "batch": 4, "steps": 12, "validate_every": 6, "warmup": 2}


def build_setup(photos: Path, folder: Path, name: str = "fsrcnn", **changes: object) -> loop.Setup:
    made = recipe.apply_changes(recipes.find(name, 2), {**SHORT, **changes})
    channels = int(state.start(made, CPU).network.channels)  # type: ignore[arg-type]
    enlarged = archs.traits(made.arch).pre_upsampled
    feeds = {}
    for scale in (1,) if made.scale_range else made.scales or (made.scale,):
        side = round(max((made.patch, *made.patches)) * max(made.scale_range, default=1))
        reduced = degradations.parse_degradation(made.degrade)
        wanted = StoreSpec(
            scale, side, reduced, made.rescale_factors, enlarged, large_only=bool(made.scale_range)
        )
        store = open_store([parse(str(photos), scale)], wanted, lambda stage, done, total: None)
        feeds[scale] = Feed(store, channels, augment.parse(made.augment))
    folder.mkdir(exist_ok=True)

    draw = Drawer(feeds, any_scale=bool(made.scale_range), part=made.downscale_weight == 0)
    return loop.Setup(made, CPU, folder, draw, list(datasets.open_folder(photos).read_pictures())[:1])


def run_training(setup: loop.Setup) -> tuple[state.State, list[StepDone]]:
    """Train to the end; return the last state and the progress reports."""
    begun = state.start(setup.recipe, CPU)
    return begun, list(loop.run(begun, setup))
