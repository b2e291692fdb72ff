"""Measure steps/s of `sr train` and of a minimal PyTorch loop with its data in memory.

    python tools/bench_train.py DATA [--seconds 20] [--threads 1]

Both run in processes of their own and take turns in short intervals, so that other load affects them alike.
Writes benchmarks/results/train.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import nn

from srcli import archs
from srcli.engine.device import keep_freed_memory, select_device
from srcli.imaging.degrade import degradations
from srcli.train import augment, loop, recipes, state
from srcli.train.feed import Drawer, Feed
from srcli.train.recipe import apply_changes
from srcli.train.sources import parse
from srcli.train.store import StoreSpec, open_store

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "train.json"
SCALE, BATCH = 4, 16
# A function that builds a step, and its arguments.
Rival = tuple[Callable[..., Callable[[], object]], tuple[object, ...]]
NETWORKS = ("espcn", "edsr", "ecbsr", "srvgg")


def build_ours(name: str, data: Path, folder: Path) -> Callable[[], object]:
    """Build a step of the real training loop, including its data."""
    keep_freed_memory()
    recipe = apply_changes(recipes.find(name, SCALE), {"batch": BATCH, "patch": 32})
    begun = state.start(recipe, select_device("cpu"))
    wanted = StoreSpec(SCALE, recipe.patch, degradations.parse_degradation(recipe.degrade))
    store = open_store([parse(str(data), SCALE)], wanted, lambda done, total: None)
    feed = Feed(store, int(begun.network.channels), augment.parse(recipe.augment))  # type: ignore[arg-type]
    setup = loop.Setup(recipe, select_device("cpu"), folder, Drawer({SCALE: feed}), [])
    work = loop.prepare(begun, setup)
    return lambda: loop.take_step(begun, setup, work)


def build_minimal(name: str) -> Callable[[], object]:
    """Build a step as one would write it by hand: one batch in memory, default layout, Adam."""
    network = archs.build(name, SCALE)
    channels = int(network.channels)  # type: ignore[arg-type]
    lr, hr = torch.rand(BATCH, channels, 32, 32), torch.rand(BATCH, channels, 32 * SCALE, 32 * SCALE)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss = nn.functional.l1_loss(network(lr), hr)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def run_turns(
    make: Callable[..., Callable[[], object]], arguments: tuple[object, ...], threads: int, pipe: Connection
) -> None:
    """Take steps for about a second whenever asked; send their number and the time. Runs as a process."""
    torch.set_num_threads(threads)
    step = make(*arguments)
    for _ in range(3):
        step()
    while pipe.recv():
        begun, spent, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < 1:
            step()
            count += 1
        pipe.send((count, time.process_time() - spent))


def measure_rates(rivals: list[Rival], seconds: float, threads: int) -> list[float]:
    """Return the steps/s of each, measured in turns."""
    spawn = get_context("spawn")
    pipes = []
    for make, arguments in rivals:
        here, there = spawn.Pipe()
        spawn.Process(target=run_turns, args=(make, arguments, threads, there), daemon=True).start()
        pipes.append(here)
    steps, spent = [0] * len(rivals), [0.0] * len(rivals)
    while min(spent) < seconds:
        for number, pipe in enumerate(pipes):
            pipe.send("go")
            count, passed = pipe.recv()
            steps[number] += count
            spent[number] += passed
    for pipe in pipes:
        pipe.send("")
    return [count / passed for count, passed in zip(steps, spent, strict=True)]


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for name in NETWORKS:
        rivals: list[Rival] = [(build_ours, (name, options.data, RESULTS.parent)), (build_minimal, (name,))]
        mine, plain = measure_rates(rivals, options.seconds, options.threads)
        rows.append({"network": name, "ours": mine, "minimal": plain, "ratio": mine / plain})
        print(
            f"{name:8} x{SCALE}: {mine:.2f} steps/s, minimal loop {plain:.2f}, ratio {mine / plain:.2f}",
            flush=True,
        )
    about = {"torch": torch.__version__, "threads": options.threads, "batch": BATCH, "patch": 32}
    RESULTS.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
