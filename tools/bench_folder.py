"""A folder of small pictures in one command, against as many commands of one picture each.

    python tools/bench_folder.py [--count 50] [--side 128] [--rounds 3] [--note TEXT] [-- OPTION ...]

What a command of one picture takes is the network's part, clocked inside it, and all else, which is its
start-up. In turns, medians. Writes benchmarks/results/folder.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from srcli.engine.calibration import machine
from srcli.engine.device import threads
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "folder.json"
_SAMPLES = ("astronaut", "chelsea", "coffee")
# Where a clocked command leaves its seconds.
_CLOCK = "SR_BENCH_CLOCK"


def pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Squares of photographs, each another."""
    made = []
    for number in range(count):
        pixels = read_image(ROOT / "srcli" / "samples" / f"{_SAMPLES[number % len(_SAMPLES)]}.png").pixels
        top, left = (number * 7 % (length - side) for length in pixels.shape[:2])
        made.append(folder / f"{number:03}.png")
        write_image(made[-1], Image(pixels[top : top + side, left : left + side]))
    return made


def clocked() -> None:
    """`sr`, with the seconds that networks spend on tiles written to a file."""
    from srcli.cli.app import run
    from srcli.engine import upscaler

    spent = [0.0]
    plain = upscaler._kept

    def timed(*given: Any) -> Iterator[Pixels]:
        results = plain(*given)
        while True:
            start = time.perf_counter()
            result = next(results, None)
            spent[0] += time.perf_counter() - start
            if result is None:
                return
            yield result

    upscaler._kept = timed  # type: ignore[assignment]
    code = run(sys.argv[2:])
    Path(os.environ[_CLOCK]).write_text(str(spent[0]))
    raise SystemExit(code)


def command(source: Path, target: Path, options: list[str], clock: Path | None = None) -> tuple[float, float]:
    """Seconds of one `sr upscale` from start to end, and those of its network, if it is clocked."""
    words = ["upscale", str(source), "-o", str(target), "--overwrite", "-q", *options]
    start_with = (
        [sys.executable, str(Path(__file__)), "--clocked"] if clock else [sys.executable, "-m", "srcli"]
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({_CLOCK: str(clock)} if clock else {})
    start = time.perf_counter()
    subprocess.run([*start_with, *words], check=True, env=environment, cwd=ROOT)
    seconds = time.perf_counter() - start
    return seconds, float(clock.read_text()) if clock else 0.0


def measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Rounds of one picture alone, clocked and not, and of the folder."""
    source, out, clock = folder / "in", folder / "out", folder / "clock"
    source.mkdir()
    out.mkdir()
    images = pictures(source, given.count, given.side)
    alone, network, together = [], [], []
    for number in range(given.rounds):
        image = images[number % len(images)]
        alone.append(command(image, out / "one.png", given.options)[0])
        network.append(command(image, out / "one.png", given.options, clock)[1])
        together.append(command(source, out / "all", given.options)[0])
    single, inside, whole = map(statistics.median, (alone, network, together))
    start_up = single - inside
    return {
        "count": given.count, "side": given.side, "options": given.options, "rounds": given.rounds,
        "single": single, "network": inside, "start_up": start_up, "folder": whole,
        "ratio": whole / (given.count * inside + start_up),
        "ratio_to_commands": whole / (given.count * single),
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="")
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    about = {"machine": machine(), "threads": threads(), "load": os.getloadavg()[0], "note": given.note}
    with tempfile.TemporaryDirectory() as folder:
        found = {**about, **measured(Path(folder), given)}
    print(json.dumps(found, indent=1))
    if not given.dry:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clocked"]:
        clocked()
    main()
