"""Train every network for a few minutes, all with the same steps and seed, and see which pass bicubic.

    python tools/quick_runs.py DATA [NAME ...] [--out FOLDER] [--limit SECONDS]

Runs `sr train NAME -x2 --preset quick` for each, validated on the bundled samples; one that would take longer
than the limit is stopped there and marked. Writes benchmarks/results/quick_runs.json and docs/training.md.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from srcli import archs, bench, datasets, methods
from srcli.engine.device import choose, keep_memory
from srcli.imaging import degrade
from srcli.train import augment, loop, recipes, state
from srcli.train.feed import Feed, draw
from srcli.train.sources import parse
from srcli.train.store import Wanted, open_store

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "quick_runs.json"
DOCUMENT = ROOT / "docs" / "training.md"
SCALE = 2


@dataclass(frozen=True)
class Run:
    """One network's short run: PSNR-Y on the bundled samples in dB, after `steps` of `planned` steps."""

    network: str
    params: int
    steps: int
    planned: int
    seconds: float
    psnr_y: float
    bicubic: float

    def line(self) -> str:
        """A row of the table."""
        short = "" if self.steps == self.planned else " (slow: stopped)"
        figures = f"{self.psnr_y:.2f} | {self.bicubic:.2f} | {self.psnr_y - self.bicubic:+.2f}"
        return f"| {self.network} | {self.params:,} | {self.steps}{short} | {self.seconds:.0f} | {figures} |"


def trained(name: str, data: Path, out: Path, limit: float) -> Run:
    """Train and validate one network."""
    recipe = recipes.preset(name, SCALE, "quick")
    device = choose("cpu")
    begun = state.start(recipe, device)
    traits = archs.traits(recipe.arch)
    wanted = Wanted(SCALE, recipe.patch, degrade.parse(recipe.degrade), enlarged=traits.pre_upsampled)
    store = open_store([parse(str(data), SCALE)], wanted, lambda done, total: None)
    feed = Feed(store, int(begun.network.channels), augment.parse(recipe.augment))  # type: ignore[arg-type]
    pictures = list(datasets.samples().pictures())
    setup = loop.Setup(recipe, device, out / name, lambda s, p, n, rng: draw(feed, p, n, rng), pictures)
    start, work = time.monotonic(), loop.prepare(begun, setup)
    while begun.step < recipe.steps and time.monotonic() - start < limit:
        loop.take_step(begun, setup, work)
    seconds = time.monotonic() - start
    bicubic = bench.evaluate(methods.find("bicubic", SCALE), pictures, SCALE).psnr_y
    row = loop.validate(begun, setup)
    return Run(name, row.params, begun.step, recipe.steps, seconds, row.psnr_y, bicubic)


def document(runs: list[Run]) -> str:
    """docs/training.md."""
    rows = "\n".join(run.line() for run in sorted(runs, key=lambda run: -run.psnr_y))
    return f"""# Short training runs
What `sr train NAME -x{SCALE} --preset quick` reaches on one processor core, the same steps and seed for all.
`tools/quick_runs.py` measured it, PSNR-Y on the bundled samples in dB. A few hundred steps say that a network
learns, not how good it is.

| network | parameters | steps | seconds | PSNR-Y | bicubic | gain |
|---|---:|---:|---:|---:|---:|---:|
{rows}
"""


def main() -> None:
    """Measure, keep and write the table; networks measured earlier stay in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("runs/quick"))
    parser.add_argument("--limit", type=float, default=300)
    given = parser.parse_args()
    keep_memory()
    known = (
        {raw["network"]: Run(**raw) for raw in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    )
    for name in given.names or archs.names():
        known[name] = trained(name, given.data, given.out, given.limit)
        print(known[name].line(), flush=True)
        RESULTS.write_text(json.dumps([asdict(run) for run in known.values()], indent=1) + "\n")
        DOCUMENT.write_text(document(list(known.values())))


if __name__ == "__main__":
    main()
