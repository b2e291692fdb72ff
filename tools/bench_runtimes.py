"""Measure the libraries that run bundled networks: their start, and a rate for each pixel of the input.

    python tools/bench_runtimes.py [--networks ecbsr-x4 ...] [--sides 64 256 512] [--rounds 3]

All libraries take turns in each round; networks that are not named keep their rows. Times are processor
seconds on one core, which other load changes less than wall time. Writes benchmarks/results/runtimes.json
and srcli/engine/runtimes/speeds.json, by which `sr` chooses a library, and draws docs/roofline.png.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from srcli import manifest
from srcli.engine.measurements import describe_machine
from srcli.engine.runtimes.speeds import START, TABLE
from srcli.engine.weights.ncnn import count_operations, read_graph

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "runtimes.json"
CHART = ROOT / "docs" / "roofline.png"
LIBRARIES = ("ncnn", "opencv", "onnxruntime", "openvino")
_START = """
import time, numpy as np
from tools.bench_runtimes import load
start = time.process_time()
upscale = load({network!r}, {library!r})
upscale(np.zeros((16, 16, 3), np.float32))
print(time.process_time() - start)
"""


def load(network: str, library: str) -> Any:
    """Return a function from pixels (H, W, 3) to samples, as `sr upscale` runs it. Raises `SrError`."""
    from srcli.imaging import rows
    from srcli.imaging.pixels import to_uint8
    from srcli.methods import MethodOptions, load_method

    model, scale = network.rsplit("-x", 1)
    [stage] = load_method(model, int(scale), MethodOptions(device="cpu", runtime=library)).stages
    rounding = stage.as_uint8()
    if rounding:
        return lambda pixels: rounding.stream(rows.of(pixels)).whole()
    return lambda pixels: to_uint8(np.clip(stage(pixels), 0, 1))


def measure_start(network: str, library: str) -> float:
    """Return the seconds to import a library and read and run a network once, in a process of its own."""
    code = _START.format(network=network, library=library)
    line = [sys.executable, "-c", code]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(line, check=True, capture_output=True, text=True, env=surroundings).stdout
        for _ in range(3)
    ]
    return round(min(map(float, runs)), 3)


def measure_sides(network: str, sides: list[int], rounds: int) -> dict[str, dict[int, float]]:
    """Return the seconds by library and side of a square image of noise, the least of some rounds."""
    runners = {}
    for library in LIBRARIES:
        try:
            runners[library] = load(network, library)
        except Exception as error:
            print(f"{network}, {library}: {error}")
    best: dict[str, dict[int, float]] = {library: {} for library in runners}
    for side in sides:
        pixels = np.random.default_rng(0).random((side, side, 3), np.float32)
        for number in range(rounds + 1):
            for library, run in runners.items():
                start = time.process_time()
                run(pixels)
                seconds = time.process_time() - start
                if number:  # the first allocates
                    best[library][side] = min(seconds, best[library].get(side, seconds))
    return best


def main() -> None:
    """Measure, write both files and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    bundled = [entry.name for entry in manifest.load_own() if entry.bundled]
    parser.add_argument("--networks", nargs="+", default=bundled)
    parser.add_argument("--sides", nargs="+", type=int, default=[64, 256, 512])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    others = [row for row in json.loads(RESULT.read_text("utf-8"))["rows"] if row["network"] in bundled]
    rows: list[dict[str, Any]] = [row for row in others if row["network"] not in arguments.networks]
    for network in arguments.networks:
        for library, seconds in measure_sides(network, arguments.sides, arguments.rounds).items():
            start = measure_start(network, library)
            milliseconds = {str(side): round(1000 * value, 1) for side, value in seconds.items()}
            rows.append({"network": network, "library": library, "start": start, "ms": milliseconds})
            print(network, library, f"start {start:.3f} s", milliseconds, flush=True)
    rows.sort(key=lambda row: bundled.index(row["network"]))
    write(rows, max(arguments.sides))


def count_work(network: str) -> tuple[float, float]:
    """Return the operations and the bytes of a network for each pixel of its input.

    Bytes: each convolution reads its input and writes its output once, and activations are part of it.
    """
    [entry] = [each for each in manifest.load_own() if each.name == network]
    assert entry.bundled
    graph = read_graph(entry.bundled.with_suffix(".ncnn.param"))
    floats = 0.0
    for layer in graph.layers:
        if "onvolution" in layer.kind:
            weights, outputs = layer.number(6), layer.number(0)
            inputs = weights / outputs / math.prod(layer.kernel) * layer.number(7, 1)
            area = entry.scale**2 if layer.kind == "Deconvolution" else 1
            floats += inputs + outputs * area
    return count_operations(graph), 4 * floats


def measure_machine() -> dict[str, float]:
    """Return what one core does at most, in 1e9 a second: operations in a matrix product, bytes in a copy.

    A copy reads and writes.
    """
    rng = np.random.default_rng(0)
    a, b = (rng.random((1536, 1536), np.float32) for _ in range(2))
    large = np.zeros(2**25, np.float32)
    target = np.empty_like(large)
    product = min(_time_once(lambda: a @ b) for _ in range(5))
    copy = min(_time_once(lambda: np.copyto(target, large)) for _ in range(5))
    return {"peak_gflops": 2 * len(a) ** 3 / product / 1e9, "copy_gbs": 2 * large.nbytes / copy / 1e9}


def _time_once(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the rates over the operations per byte, below what the machine can do."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    intensity = np.geomspace(1, 200, 50)
    roof = np.minimum(result["peak_gflops"], intensity * result["copy_gbs"])
    axes.loglog(intensity, roof, color="grey", label="copy rate and FMA peak")
    for library in LIBRARIES:
        rows = [row for row in result["rows"] if row["library"] == library]
        x, y = [row["operations"] / row["bytes"] for row in rows], [row["gflops"] for row in rows]
        axes.plot(x, y, "o", label=library)
    for row in result["rows"]:
        if row["library"] == "openvino":
            axes.annotate(row["network"], (row["operations"] / row["bytes"], row["gflops"]), fontsize=7)
    axes.set(xlabel="operations per byte of activations", ylabel="GFLOP/s of one core")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=90)


def write(rows: list[dict[str, Any]], side: int) -> None:
    """Write the result and the table of which it is the short form, and draw the plot."""
    for row in rows:
        operations, traffic = count_work(row["network"])
        rate = operations * side**2 / row["ms"][str(side)] / 1e6
        row |= {"operations": operations, "bytes": traffic, "gflops": round(rate, 1)}
    machine = {key: round(value, 1) for key, value in measure_machine().items()}
    load = round(os.getloadavg()[0], 1)
    result = {
        "machine": describe_machine(),
        "threads": 1,
        "load": load,
        "side": side,
        **machine,
        "rows": rows,
    }
    draw(result, CHART)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        seconds = {each: round(value / 1000, 4) for each, value in row["ms"].items()}
        table.setdefault(row["network"], {})[row["library"]] = {START: row["start"], **seconds}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
