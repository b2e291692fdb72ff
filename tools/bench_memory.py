"""Peak memory and time of `sr upscale` by input size, from 0.1 megapixels.

    python tools/bench_memory.py [LARGEST_MEGAPIXELS] [--scale 4]
    python tools/bench_memory.py --only 100 --scale 2

Measures each size in a process of its own. Writes benchmarks/results/memory.json and draws docs/memory.png,
with the estimates of `--dry-run`. `--only` measures one size, adds it to memory_large.json and exits with 1
if it needs more memory than an image may.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image as PilImage

from srcli.engine.device import count_threads
from srcli.engine.measurements import describe_machine

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "memory.json"
CHART = ROOT / "docs" / "memory.png"
LARGE = ROOT / "benchmarks" / "results" / "memory_large.json"
# The most bytes that a command may take, however large the image.
BAR = 1.2e9
SIZES = (0.1, 0.25, 0.5, 1, 2, 3, 6, 12, 24)


def write_photograph(megapixels: float, folder: Path) -> Path:
    """Write a photograph with an aspect ratio of 3:2 as JPEG and return its path."""
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    path = folder / f"{megapixels:g}.jpg"
    with PilImage.open(ROOT / "srcli" / "samples" / "coffee.png") as sample:
        large = sample.convert("RGB").resize((height * 3 // 2, height), PilImage.Resampling.BICUBIC)
        large.save(path, quality=92)
    return path


def measure(arguments: list[str]) -> tuple[float, int]:
    """Run `sr upscale` and return the seconds of the whole process and its peak memory in bytes."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "srcli", "upscale", *arguments, "--quiet"])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"sr {' '.join(arguments)} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def estimate(arguments: list[str]) -> dict[str, Any]:
    """Return the estimate of `--dry-run`."""
    command = [sys.executable, "-m", "srcli", "upscale", *arguments, "--dry-run", "--json"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(text)
    return found


def measure_size(megapixels: float, scale: int, folder: Path) -> dict[str, float]:
    """Measure one size; return it with its estimate."""
    target = folder / "out.png"
    arguments = [str(write_photograph(megapixels, folder)), f"-x{scale}", "-o", str(target), "--overwrite"]
    said = estimate(arguments)
    seconds, peak = measure(arguments)
    target.unlink()
    return {
        "megapixels": megapixels, "seconds": round(seconds, 2), "bytes": peak,
        "foretold_seconds": round(said["seconds"], 2), "foretold_bytes": round(said["bytes"]),
    }  # fmt: skip


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw time and memory over megapixels; time on two logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [line["megapixels"] for line in rows]
    for axes, key, unit, title in (
        (left, "seconds", 1, "seconds, start to file"), (right, "bytes", 2**20, "peak resident memory, MiB"),
    ):  # fmt: skip
        axes.plot(sizes, [line[key] / unit for line in rows], marker="o", label="measured")
        told = [line[f"foretold_{key}"] / unit for line in rows]
        axes.plot(sizes, told, "--", marker=".", label="estimate of --dry-run")
        axes.set(xlabel="megapixels of the input", title=title, xscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    left.set(yscale="log")
    figure.savefig(path, dpi=100)


def describe_run(note: str) -> dict[str, Any]:
    """Describe the machine."""
    return {
        "machine": describe_machine(),
        "threads": count_threads(),
        "load": os.getloadavg()[0],
        "note": note,
    }


def check_one_size(megapixels: float, scale: int, note: str) -> NoReturn:
    """Measure one size, add it to the results, and exit with 1 if it is above the limit."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"scale": scale, **measure_size(megapixels, scale, Path(folder)), **describe_run(note)}
    before = json.loads(LARGE.read_text())["rows"] if LARGE.exists() else []
    rows = [line for line in before if (line["megapixels"], line["scale"]) != (megapixels, scale)] + [found]
    LARGE.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    held = found["bytes"] < BAR
    print(f"{found['bytes'] / 1e9:.2f} GB, {'less' if held else 'NOT less'} than {BAR / 1e9:g} GB")
    raise SystemExit(0 if held else 1)


def main() -> None:
    """Measure, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("largest", nargs="?", type=float, default=6)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--note", default="")
    parser.add_argument("--only", type=float, metavar="MEGAPIXELS")
    options = parser.parse_args()
    if options.only:
        check_one_size(options.only, options.scale, options.note)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in (size for size in SIZES if size <= options.largest):
            rows.append(measure_size(megapixels, options.scale, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(
        json.dumps({"scale": options.scale, **describe_run(options.note), "rows": rows}, indent=1) + "\n"
    )
    draw(rows, CHART)


if __name__ == "__main__":
    main()
