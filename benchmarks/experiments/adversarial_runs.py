"""Train every recipe that has a discriminator for minutes: first phase, second phase, and their mean.

    PYTHONPATH=. python benchmarks/experiments/adversarial_runs.py DATA [NAME ...] [--out FOLDER]

Runs `sr train NAME -x4 --preset quick` with small networks and fewer steps, validated on the bundled samples,
which are degraded like the training images. Measures PSNR-Y after each phase; `adversarial_phases.py` says
more of longer runs. Writes benchmarks/results/adversarial_runs.json, which docs/adversarial.md shows. A
recipe that is measured already is left out unless it is named: an interrupted run continues with the next.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.experiments.quick_runs import set_up_run
from srcli import bench, methods
from srcli.bench.protocols import Y_CROP, Reduction
from srcli.engine.device import keep_freed_memory
from srcli.engine.weights import files
from srcli.train import loop, recipes
from srcli.train.recipe import Recipe, apply_assignments

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "adversarial_runs.json"
SCALE = 4
SMALL = {
    "rrdbnet": ("config.blocks=2", "config.features=24", "config.growth=12"),
    "srresnet": ("config.blocks=3", "config.features=24"),
}
SHORT = ("batch=4", "gan.steps=30", "validate_every=330")


@dataclass(frozen=True)
class Run:
    """PSNR-Y in dB of bicubic, after each phase, and of the mean of both sets of weights."""

    recipe: str
    degradation: str
    discriminator: str
    loss: str
    steps: int
    rival_steps: int
    seconds: float
    bicubic: float
    first: float
    second: float
    between: float

    def line(self) -> str:
        """Return the row of the table."""
        what = f"{self.recipe} | {self.degradation} | {self.discriminator} | `{self.loss}`"
        cost = f"{self.steps} + {self.rival_steps} | {self.seconds:.0f}"
        reached = f"{self.bicubic:.2f} | {self.first:.2f} | {self.second:.2f} | {self.between:.2f}"
        return f"| {what} | {cost} | {reached} |"


def build_recipe(name: str) -> Recipe:
    """Return the quick recipe with a smaller network and fewer steps."""
    quick = recipes.preset(name, SCALE, "quick")
    return apply_assignments(quick, [*SMALL[quick.arch], *SHORT])


def train_recipe(name: str, data: Path, out: Path) -> Run:
    """Run both phases with the training loop of `sr train`."""
    recipe = build_recipe(name)
    run_state, setup = set_up_run(recipe, data, out / name)
    start = time.monotonic()
    for _ in loop.run(run_state, setup):
        pass
    seconds = time.monotonic() - start
    first, second = (loop.weights_path(setup.folder, recipe, prefix) for prefix in ("psnr-", ""))
    between = setup.folder / "between.safetensors"
    files.blend_networks(first, second, 0.5, between)
    reduction = Reduction(Y_CROP.protocol, "" if recipe.degrade == "bicubic" else recipe.degrade)
    shown = [
        methods.load_method("bicubic", SCALE),
        *(methods.load_method_file(f, SCALE) for f in (first, second, between)),
    ]
    found = [round(bench.evaluate(each, setup.pictures, SCALE, reduction).psnr_y, 2) for each in shown]
    gan = recipe.gan
    assert gan
    about = (recipe.degrade, gan.discriminator, gan.loss, recipe.steps, gan.steps, round(seconds, 1))
    bicubic, after_first, after_second, mean = found
    return Run(name, *about, bicubic, after_first, after_second, mean)


def render_table() -> str:
    """Return the results as a Markdown table."""
    runs = [Run(**raw) for raw in json.loads(RESULT.read_text())]
    out = [
        "| recipe | degradation | discriminator | loss of the second phase | steps | seconds "
        "| bicubic | after the first phase | after the second | mean of both |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*out, *(run.line() for run in runs)])


def main() -> None:
    """Train and write the results; results of other recipes are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/rivals"))
    options = parser.parse_args()
    keep_freed_memory()
    known = {raw["recipe"]: Run(**raw) for raw in json.loads(RESULT.read_text())} if RESULT.exists() else {}
    every = [name for name in recipes.RECIPES if recipes.find(name, SCALE).gan]
    for name in options.names or [name for name in every if name not in known]:
        known[name] = train_recipe(name, options.data, options.out)
        print(known[name].line(), flush=True)
        RESULT.write_text(json.dumps([asdict(run) for run in known.values()], indent=1) + "\n")


if __name__ == "__main__":
    main()
