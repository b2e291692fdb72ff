"""Peak memory and time of `sr upscale` over the size of the input, from 0.1 megapixels on.

    python tools/bench_memory.py [LARGEST_MEGAPIXELS] [--scale 4]
    python tools/bench_memory.py --only 100 --scale 2

Each in a process of its own. Writes benchmarks/results/memory.json and draws docs/memory.png; what
`--dry-run` said before stands beside what came. `--only` measures one size, adds it to
benchmarks/results/memory_large.json and ends with 1 where it took more than a picture may.
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

from srcli.engine.calibration import machine
from srcli.engine.device import threads

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "memory.json"
CHART = ROOT / "docs" / "memory.png"
LARGE = ROOT / "benchmarks" / "results" / "memory_large.json"
# Bytes that a command may take at most, however large the picture.
BAR = 1.2e9
SIZES = (0.1, 0.25, 0.5, 1, 2, 3, 6, 12, 24)


def photograph(megapixels: float, folder: Path) -> Path:
    """A photograph of so many pixels, three to two."""
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    path = folder / f"{megapixels:g}.jpg"
    with PilImage.open(ROOT / "srcli" / "samples" / "coffee.png") as sample:
        large = sample.convert("RGB").resize((height * 3 // 2, height), PilImage.Resampling.BICUBIC)
        large.save(path, quality=92)
    return path


def measured(arguments: list[str]) -> tuple[float, int]:
    """Seconds from start to end of one command line, and its peak in bytes."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "srcli", "upscale", *arguments, "--quiet"])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"sr {' '.join(arguments)} ended with {status}")
    return time.perf_counter() - start, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def foretold(arguments: list[str]) -> dict[str, Any]:
    """What `--dry-run` says."""
    command = [sys.executable, "-m", "srcli", "upscale", *arguments, "--dry-run", "--json"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(text)
    return found


def row(megapixels: float, scale: int, folder: Path) -> dict[str, float]:
    """One size: what was foretold and what came."""
    target = folder / "out.png"
    arguments = [str(photograph(megapixels, folder)), f"-x{scale}", "-o", str(target), "--overwrite"]
    said = foretold(arguments)
    seconds, peak = measured(arguments)
    target.unlink()
    return {
        "megapixels": megapixels, "seconds": round(seconds, 2), "bytes": peak,
        "foretold_seconds": round(said["seconds"], 2), "foretold_bytes": round(said["bytes"]),
    }  # fmt: skip


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Time and memory over megapixels, both axes logarithmic for time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [line["megapixels"] for line in rows]
    for axes, key, unit, title in (
        (left, "seconds", 1, "seconds, start to file"), (right, "bytes", 2**20, "peak resident memory, MiB"),
    ):  # fmt: skip
        axes.plot(sizes, [line[key] / unit for line in rows], marker="o", label="measured")
        told = [line[f"foretold_{key}"] / unit for line in rows]
        axes.plot(sizes, told, "--", marker=".", label="foretold by --dry-run")
        axes.set(xlabel="megapixels of the input", title=title, xscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    left.set(yscale="log")
    figure.savefig(path, dpi=100)


def about(note: str) -> dict[str, Any]:
    """Where it was measured."""
    return {"machine": machine(), "threads": threads(), "load": os.getloadavg()[0], "note": note}


def only(megapixels: float, scale: int, note: str) -> NoReturn:
    """One size, kept beside others of this kind; the exit code says whether it held the bar."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"scale": scale, **row(megapixels, scale, Path(folder)), **about(note)}
    before = json.loads(LARGE.read_text())["rows"] if LARGE.exists() else []
    rows = [line for line in before if (line["megapixels"], line["scale"]) != (megapixels, scale)] + [found]
    LARGE.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    held = found["bytes"] < BAR
    print(f"{found['bytes'] / 1e9:.2f} GB, {'less' if held else 'NOT less'} than {BAR / 1e9:g} GB")
    raise SystemExit(0 if held else 1)


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("largest", nargs="?", type=float, default=6)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--note", default="")
    parser.add_argument("--only", type=float, metavar="MEGAPIXELS")
    given = parser.parse_args()
    if given.only:
        only(given.only, given.scale, given.note)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in (size for size in SIZES if size <= given.largest):
            rows.append(row(megapixels, given.scale, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(json.dumps({"scale": given.scale, **about(given.note), "rows": rows}, indent=1) + "\n")
    draw(rows, CHART)


if __name__ == "__main__":
    main()
