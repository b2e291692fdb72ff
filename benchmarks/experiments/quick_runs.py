"""Train every network for a few minutes with the same steps and seed, to see which ones beat bicubic.

    PYTHONPATH=. python benchmarks/experiments/quick_runs.py DATA [NAME ...] [--out FOLDER] [--limit SECONDS]

Runs `sr train NAME -x2 --preset quick` for each on one core, validated on the bundled samples; with --limit,
as many steps as fit into that processor time, like `--for`: other load does not change the result. Networks
that would take longer than minutes are cut down and marked. Writes benchmarks/results/quick_runs.json, which
docs/weights/quick-runs.md shows. Networks that have a result for that limit are left out unless they are
named: an interrupted run continues. Those closest to bicubic come first.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from srcli import archs, bench, datasets, methods
from srcli.engine import complexity
from srcli.engine.device import keep_freed_memory, select_device
from srcli.train import TrainRequest, loop, recipes, runner, state, time_budget
from srcli.train.recipe import Recipe

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "quick_runs.json"
SCALE = 2
# A network is cut down if the forward pass of a step takes more multiply-adds.
LARGEST = 0.5e9
SMALLER = {arch: archs.facts(arch).small for arch in archs.names() if archs.facts(arch).small} | {
    "carn": {"features": 32},
    "csnln": {"depth": 1, "features": 16},
    "dbpn": {"stages": 2, "features": 12, "head": 16},
    # As in ESRGAN and BSRGAN: only Real-ESRGAN packs pixels into channels, which is harder to learn.
    "rrdbnet": archs.facts("rrdbnet").small | {"unshuffle": False},
}


@dataclass(frozen=True)
class Run:
    """One short run: PSNR-Y in dB on the bundled samples after `steps` of `planned` steps.

    `config`: the reduced configuration; empty if the network has its default size. `limit`: the seconds of
    processor time that the steps were fitted to; 0 for all steps of the recipe. `seconds`: processor time
    with a limit, else wall time.
    """

    network: str
    config: dict[str, Any]
    params: int
    steps: int
    planned: int
    seconds: float
    psnr_y: float
    bicubic: float
    optimiser: str
    limit: float = 0.0

    def line(self) -> str:
        """Return the row of the table."""
        short = "" if self.steps == self.planned else " (stopped)"
        cut = " (cut down)" if self.config else ""
        gain = f"{self.psnr_y:.2f} | {self.bicubic:.2f} | {self.psnr_y - self.bicubic:+.2f}"
        limit = f"{self.limit:.0f} s" if self.limit else ""
        cost = f"{self.params:,} | {limit} | {self.steps:,}{short} | {self.seconds:.0f}"
        return f"| {self.network}{cut} | {self.optimiser} | {cost} | {gain} |"


def train_network(name: str, data: Path, out: Path, limit: float) -> Run:
    """Train and validate one network."""
    recipe = fit_recipe(recipes.find(name, SCALE))
    run_state, setup = set_up_run(recipe, data, out / name)
    if limit:
        speed = time_budget.measure(run_state, setup, limit, time.process_time)
        recipe = time_budget.fit(recipe, speed, limit)
        setup = replace(setup, recipe=recipe)
    start, work = time.process_time(), loop.prepare(run_state, setup)
    while run_state.step < recipe.steps:
        loop.take_step(run_state, setup, work)
    seconds = time.process_time() - start
    bicubic = bench.evaluate(methods.load_method("bicubic", SCALE), setup.pictures, SCALE).psnr_y
    row = loop.validate(run_state, setup)
    cost = (row.params, run_state.step, recipe.steps, seconds)
    return Run(name, get_reduced_config(recipe), *cost, row.psnr_y, bicubic, recipe.optimiser, limit)


def set_up_run(recipe: Recipe, data: Path, folder: Path) -> tuple[state.State, loop.Setup]:
    """Prepare a run on the processor, validated on the bundled samples."""
    device = select_device("cpu")
    run_state = state.start(recipe, device)
    request = TrainRequest((str(data),), recipe.arch, recipe.scale)
    drawer = runner.open_draw(request, recipe, run_state, device)
    pictures = list(datasets.load_samples().read_pictures())
    return run_state, loop.Setup(recipe, device, folder, drawer, pictures)


def fit_recipe(recipe: Recipe) -> Recipe:
    """Return the quick recipe on a processor, for a smaller network if its own takes too long on one core."""
    quick = recipes.settle_precision(recipes.quick(recipe), select_device("cpu"))
    side = quick.patch * (1 if archs.traits(recipe.arch).pre_upsampled else SCALE)
    cost = complexity.count_cost(archs.Spec(recipe.arch, SCALE, recipe.config), side, side)
    small = cost.multiply_adds * quick.batch > LARGEST and recipe.arch in SMALLER
    return replace(quick, config=SMALLER[recipe.arch]) if small else quick


def get_reduced_config(recipe: Recipe) -> dict[str, Any]:
    """Return the configuration that `fit_recipe` reduced the network to; empty if it did not."""
    return recipe.config if recipe.config == SMALLER.get(recipe.arch) else {}


def render_table() -> str:
    """Return the results as a Markdown table, best first."""
    runs = [Run(**raw) for raw in json.loads(RESULTS.read_text())]
    out = [
        "| network | optimiser | parameters | limit | steps | seconds | PSNR-Y | bicubic | gain |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*out, *(run.line() for run in sorted(runs, key=lambda run: -run.psnr_y))])


def main() -> None:
    """Train and write the results; results of other networks are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/quick"))
    parser.add_argument("--limit", type=float, default=0.0, help="seconds for each network")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    known = (
        {raw["network"]: Run(**raw) for raw in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    )
    missing = [name for name in archs.names() if name not in known or known[name].limit != options.limit]
    missing.sort(key=lambda name: known[name].psnr_y if name in known else 0)
    for name in options.names or missing:
        known[name] = train_network(name, options.data, options.out, options.limit)
        print(known[name].line(), flush=True)
        RESULTS.write_text(json.dumps([asdict(run) for run in known.values()], indent=1) + "\n")


if __name__ == "__main__":
    main()
