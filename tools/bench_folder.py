"""Time a folder of small images in one command, compared with one command per image.

    python tools/bench_folder.py [--count 50] [--side 128] [--rounds 3] [--note TEXT] [-- OPTION ...]

The time of a command with one image consists of the network, which is timed inside the process, and the
start-up. The networks of all images are timed in a process that does not overlap them with anything. All
variants take turns, and medians are reported. Writes benchmarks/results/folder.json.
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

from srcli.engine.device import count_threads
from srcli.engine.measurements import describe_machine
from srcli.imaging.image import Image, read_image, write_image
from srcli.imaging.pixels import Pixels

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "folder.json"
_SAMPLES = ("astronaut", "chelsea", "coffee")
# The file to which a timed command writes its seconds.
_CLOCK = "SR_BENCH_CLOCK"


def write_images(folder: Path, count: int, side: int) -> list[Path]:
    """Write different square parts of photographs and return their paths."""
    paths = []
    for number in range(count):
        pixels = read_image(ROOT / "srcli" / "samples" / f"{_SAMPLES[number % len(_SAMPLES)]}.png").pixels
        top, left = (number * 7 % (length - side) for length in pixels.shape[:2])
        paths.append(folder / f"{number:03}.png")
        write_image(paths[-1], Image(pixels[top : top + side, left : left + side]))
    return paths


def run_with_clock() -> None:
    """Run `sr` and write the seconds that networks spend on tiles to a file."""
    from srcli.batch import execution
    from srcli.cli.app import run
    from srcli.engine import upscaler

    execution._MOST_OVERLAPPED = 1

    spent = [0.0]
    plain = upscaler._run_tiles

    def time_tiles(*options: Any) -> Iterator[Pixels]:
        results = plain(*options)
        while True:
            start = time.perf_counter()
            result = next(results, None)
            spent[0] += time.perf_counter() - start
            if result is None:
                return
            yield result

    upscaler._run_tiles = time_tiles  # type: ignore[assignment]
    code = run(sys.argv[2:])
    Path(os.environ[_CLOCK]).write_text(str(spent[0]))
    raise SystemExit(code)


def time_command(
    source: Path, target: Path, options: list[str], clock: Path | None = None
) -> tuple[float, float]:
    """Return the seconds of one `sr upscale` process, and those of its network if `clock` is given."""
    words = ["upscale", str(source), "-o", str(target), "--overwrite", "-q", *options]
    start_with = (
        [sys.executable, str(Path(__file__)), "--clocked"] if clock else [sys.executable, "-m", "srcli"]
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({_CLOCK: str(clock)} if clock else {})
    start = time.perf_counter()
    subprocess.run([*start_with, *words], check=True, env=environment, cwd=ROOT)
    seconds = time.perf_counter() - start
    return seconds, float(clock.read_text()) if clock else 0.0


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Time single images, with and without the clock, and the folder, in turns."""
    source, out, clock = folder / "in", folder / "out", folder / "clock"
    source.mkdir()
    out.mkdir()
    images = write_images(source, options.count, options.side)
    alone, network, networks, together = [], [], [], []
    for number in range(options.rounds):
        image = images[number % len(images)]
        alone.append(time_command(image, out / "one.png", options.options)[0])
        network.append(time_command(image, out / "one.png", options.options, clock)[1])
        networks.append(time_command(source, out / "all", options.options, clock)[1])
        together.append(time_command(source, out / "all", options.options)[0])
    single, inside, all_inside, whole = map(statistics.median, (alone, network, networks, together))
    start_up = single - inside
    return {
        "count": options.count, "side": options.side, "options": options.options, "rounds": options.rounds,
        "single": single, "network": inside, "start_up": start_up, "networks": all_inside, "folder": whole,
        "ratio": whole / (all_inside + start_up),
        "ratio_to_commands": whole / (options.count * single),
    }  # fmt: skip


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="")
    parser.add_argument("--dry", action="store_true", help="write no file")
    parser.add_argument("options", nargs="*")
    options = parser.parse_args()
    about = {
        "machine": describe_machine(),
        "threads": count_threads(),
        "load": os.getloadavg()[0],
        "note": options.note,
    }
    with tempfile.TemporaryDirectory() as folder:
        found = {**about, **measure(Path(folder), options)}
    print(json.dumps(found, indent=1))
    if not options.dry:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clocked"]:
        run_with_clock()
    main()
