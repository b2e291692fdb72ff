"""Measure resident memory of `sr upscale` over many images: `python tools/soak.py [COUNT] [RESULT.json]`."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from srcli.batch.runner import Became
from srcli.cli import reporters
from srcli.cli.app import run
from srcli.imaging.image import Image, write_image

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "soak.json"
SUFFIXES = ("png", "jpg", "webp", "tif", "gif")
_DIFFERENT, _SETTLED = 40, 50
_PAGE_MIB = 4096 / 2**20


def make_images(folder: Path, count: int) -> Path:
    """Make a few images of various sizes and formats, and symbolic links to them, `count` names in all."""
    rng = np.random.default_rng(0)
    for k in range(_DIFFERENT):
        pixels = rng.random((int(rng.integers(16, 64)), int(rng.integers(16, 64)), 3), np.float32)
        write_image(folder / f"{k}.{SUFFIXES[k % len(SUFFIXES)]}", Image(pixels))
    files = sorted(folder.iterdir())
    for k in range(_DIFFERENT, count):
        file = files[k % _DIFFERENT]
        (folder / f"link{k}{file.suffix}").symlink_to(file)
    return folder


def read_resident() -> float:
    """Return the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MIB


def measure(folder: Path, count: int) -> dict[str, float]:
    """Upscale all images in one command, deleting outputs as they appear; return the peaks in MiB."""
    seen: list[float] = []
    plain = reporters.ConsoleReporter.outcome

    def record(self: reporters.ConsoleReporter, outcome: Became) -> None:
        seen.append(read_resident())
        plain(self, outcome)
        Path(str(outcome.job.target)).unlink()

    reporters.ConsoleReporter.outcome = record  # type: ignore[method-assign]
    code = run(["upscale", str(make_images(folder / "in", count)), "-x2", "-q", "-o", str(folder / "out")])
    if code:
        raise SystemExit(code)
    before, after = max(seen[:_SETTLED]), max(seen[_SETTLED:])
    return {"images": len(seen), "first_50": before, "later": after, "growth": after / before - 1}


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else RESULT
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), wanted)
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(found)
