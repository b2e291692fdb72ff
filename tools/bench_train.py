"""Measure the speed of `sr train`: of its loop, of SOAP, and of its data.

    python tools/bench_train.py DATA [--seconds 20] [--threads 1] [--only loop] [NETWORK ...]
    python tools/bench_train.py DATA --gpu [--device cuda] [--out FOLDER] [NETWORK ...]

The first form compares with a minimal PyTorch loop in float32 that has its data in memory, SOAP with Adam at
the patch and batch of each recipe, and counts the images that a core degrades; with --only, one of these. The
loop is measured in float32 and in the precision that `--preset quick` has here. Rivals run in processes of
their own and take turns in short intervals; processor time is measured, so that other load affects none of
them. It writes
benchmarks/results/train.json. Networks that were not measured this time keep their figures.

With --gpu, each network trains by its recipe in bfloat16, plain and compiled, and the share of the time that
its own forward, backward and optimiser take, with data at hand, is printed: the rest is the loop's. It ends
within ten minutes, and writes train_gpu.json. `--gpu --device cpu --seconds 2 espcn` checks that it works.
"""

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srcli import archs
from srcli.engine.device import Device, keep_freed_memory, select_device
from srcli.train import TrainRequest, loop, recipes, runner, state
from srcli.train.augment import Batch
from srcli.train.recipe import Recipe, apply_changes

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
SCALE, BATCH, PATCH = 4, 16, 32
# A function that builds a step, and its arguments.
Rival = tuple[Callable[..., Callable[[], object]], tuple[object, ...]]
NETWORKS = ("espcn", "edsr", "ecbsr", "srvgg")
GPU_NETWORKS = ("edsr", "ecbsr", "srvgg", "swinir", "realesrgan")
# On a GPU: for all networks, and the share of it that a network may take in one form.
_SECONDS = 540.0
_LARGEST_SHARE = 1 / (2 * len(GPU_NETWORKS))


def set_up(recipe: Recipe, data: str, device: Device, workers: int = 0) -> tuple[state.State, loop.Setup]:
    """Prepare a run of the real training loop."""
    keep_freed_memory()
    begun = state.start(recipe, device)
    request = TrainRequest((data,), allow_leak=True)
    draw = runner.open_draw(request, recipe, begun, device, workers=workers)
    read_every = 1 if device.name == "cpu" else 50
    return begun, loop.Setup(recipe, device, RESULTS, draw, [], read_every=read_every, workers=workers)


def build_ours(recipe: Recipe, data: str) -> Callable[[], object]:
    """Build a step of the real training loop, including its data."""
    begun, setup = set_up(recipe, data, select_device("cpu"))
    work = loop.prepare(begun, setup)
    return lambda: loop.take_step(begun, setup, work)


def build_minimal(name: str) -> Callable[[], object]:
    """Build a step as one would write it by hand: one batch in memory, default layout, Adam."""
    network = archs.build(name, SCALE)
    channels = int(network.channels)  # type: ignore[arg-type]
    lr = torch.rand(BATCH, channels, PATCH, PATCH)
    hr = torch.rand(BATCH, channels, PATCH * SCALE, PATCH * SCALE)
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
    """Return the steps per second of processor time of each, measured in turns."""
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


def measure_loop(name: str, data: str, seconds: float, threads: int) -> dict[str, Any]:
    """Compare the loop with a minimal one."""
    recipe = apply_changes(recipes.find(name, SCALE), {"batch": BATCH, "patch": PATCH})
    quick = recipes.settle_precision(recipes.quick(recipe), select_device("cpu"))
    precisions = list(dict.fromkeys(("float32", quick.precision)))
    rivals: list[Rival] = [(build_minimal, (name,))]
    rivals += [(build_ours, (replace(recipe, precision=each), data)) for each in precisions]
    plain, *rates = measure_rates(rivals, seconds, threads)
    mine = dict(zip(precisions, rates, strict=True))
    told = ", ".join(f"{each} {rate:.2f} steps/s ({rate / plain:.2f})" for each, rate in mine.items())
    print(f"{name} x{SCALE}: {told}, minimal loop {plain:.2f}", flush=True)
    return {"network": name, "ours": mine, "minimal": plain, "default": quick.precision}


def measure_soap(name: str, data: str, seconds: float, threads: int) -> dict[str, Any]:
    """Compare SOAP with Adam, at the patch and batch of the recipe."""
    recipe = replace(recipes.find(name, SCALE), precision="float32")
    rivals: list[Rival] = [
        (build_ours, (replace(recipe, optimiser=kind, weight_decay=0.0), data)) for kind in ("soap", "adam")
    ]
    soap, adam = measure_rates(rivals, seconds, threads)
    print(f"{name}: a step of SOAP takes {adam / soap - 1:.0%} longer than one of Adam", flush=True)
    return {"network": name, "patch": recipe.patch, "batch": recipe.batch, "longer": adam / soap - 1}


def measure_data(data: str, seconds: float) -> dict[str, Any]:
    """Count the images that a core draws and degrades in a second, at Real-ESRGAN's patch and batch."""
    recipe = recipes.find("realesrgan", SCALE)
    torch.set_num_threads(1)
    _, setup = set_up(
        replace(recipe, config={"blocks": 1, "features": 8, "growth": 4}), data, select_device("cpu")
    )
    begun, count = time.process_time(), 0
    while time.process_time() - begun < seconds:
        setup.draw(SCALE, recipe.patch, recipe.batch, np.random.default_rng(count))
        count += 1
    rate = count * recipe.batch / (time.process_time() - begun)
    print(f"{recipe.degrade}: {rate:.1f} images/s and core, {recipe.patch * SCALE} px", flush=True)
    return {"degrade": recipe.degrade, "side": recipe.patch * SCALE, "batch": recipe.batch, "rate": rate}


def measure_share(name: str, data: str, device: Device, seconds: float, compiled: bool) -> dict[str, Any]:
    """Measure steps/s of the whole loop, and of the network alone with one batch at hand."""
    recipe = replace(recipes.find(name, SCALE), gan=None, precision="bfloat16", compile=compiled)
    workers = max(0, (os.cpu_count() or 1) - 1) if device.name != "cpu" else 0
    workers = runner.count_workers(TrainRequest((data,), workers=workers), recipe, device)
    begun, setup = set_up(recipe, data, device, workers)
    work = loop.prepare(begun, setup)
    whole = time_steps(begun, setup, work, device, seconds / 2)
    batch = next(work.batches)
    moved = (batch[0], move_batch(batch[1], device))
    at_hand = replace(work, batches=itertools.repeat(moved))
    alone = time_steps(begun, setup, at_hand, device, seconds / 2)
    share = whole / alone
    print(
        f"{name}{' compiled' if compiled else ''}: {whole:.2f} steps/s of {recipe.batch}, "
        f"the network has {share:.0%} of the time, {workers} workers",
        flush=True,
    )
    facts = {"network": name, "compiled": compiled, "batch": recipe.batch, "workers": workers}
    return {**facts, "steps_per_second": whole, "alone": alone, "share": share}


def move_batch(batch: Batch, device: Device) -> Batch:
    """Return a batch in the device's memory."""
    lr, hr, fed = (images.to(device.name) for images in (batch.lr, batch.hr, batch.fed))
    return replace(batch, lr=lr, hr=hr, fed=fed)


def time_steps(
    begun: state.State, setup: loop.Setup, work: loop.Work, device: Device, seconds: float
) -> float:
    """Return the steps/s, with losses read as seldom as in a run."""
    meter = loop.Meter()
    for _ in range(3):
        loop.take_step(begun, setup, work)
    synchronise(device)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        meter.pending.append(loop.take_step(begun, setup, work))
        count += 1
        if len(meter.pending) >= setup.read_every:
            meter.read()
    synchronise(device)
    return count / (time.perf_counter() - start)


def synchronise(device: Device) -> None:
    """Wait for all pending work of a GPU."""
    if device.name.startswith("cuda"):
        torch.cuda.synchronize(device.name)


def measure_gpu(options: argparse.Namespace) -> None:
    """Measure all networks in both forms, as far as the time goes; write the results after each."""
    device = select_device(options.device)
    began, rows = time.monotonic(), []
    seconds = min(
        options.seconds, _SECONDS * _LARGEST_SHARE / 3
    )  # a third; the rest is starting and compiling
    for name in options.networks or GPU_NETWORKS:
        for compiled in (False, True):
            if time.monotonic() - began > _SECONDS * (1 - _LARGEST_SHARE):
                print(f"{name}: no time left")
                continue
            rows.append(measure_share(name, options.data, device, seconds, compiled))
            about = {"torch": torch.__version__, "device": describe_device(device)}
            path = options.out / "train_gpu.json"
            path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def describe_device(device: Device) -> str:
    """Return the name of a GPU, or of the kind of device."""
    return torch.cuda.get_device_name(device.name) if device.name.startswith("cuda") else device.name


def measure_cpu(options: argparse.Namespace) -> None:
    """Measure loop, SOAP and data; write the results after each."""
    path = options.out / "train.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    about = {"torch": torch.__version__, "threads": options.threads, "batch": BATCH, "patch": PATCH}
    found = {"rows": [], "soap": [], **found, **about}

    def save(kind: str, row: dict[str, Any]) -> None:
        others = [old for old in found[kind] if old["network"] != row["network"]]
        found[kind] = sorted([*others, row], key=lambda each: str(each["network"]))
        path.write_text(json.dumps(found, indent=1) + "\n")

    if options.only in (None, "data"):
        found["data"] = measure_data(options.data, options.seconds)
        path.write_text(json.dumps(found, indent=1) + "\n")
    for name in () if options.only == "data" else options.networks or NETWORKS:
        for kind, measure in (("loop", measure_loop), ("soap", measure_soap)):
            if options.only in (None, kind):
                row = measure(name, options.data, options.seconds, options.threads)
                save("rows" if kind == "loop" else kind, row)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("networks", nargs="*", help="networks, or recipes with --gpu; a choice by default")
    parser.add_argument("--seconds", type=float, default=20, help="for each rival")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("loop", "soap", "data"))
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_intermixed_args()
    (measure_gpu if options.gpu else measure_cpu)(options)


if __name__ == "__main__":
    main()
