"""Measure the resident memory of one batch over many images: `python tools/soak.py [COUNT] [RESULT.json]`."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from srcli import batch
from srcli.batch.events import Event, ImageDone
from srcli.batch.request import Naming, UpscaleRequest
from srcli.cli.reporters import ConsoleReporter
from srcli.imaging.image import Image, write_image
from srcli.imaging.size import TargetSize

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "soak.json"
SUFFIXES = ("png", "jpg", "webp", "tif", "gif")
_DIFFERENT, _SETTLED = 40, 50
_PAGE_MIB = 4096 / 2**20


def make_images(folder: Path, count: int) -> Path:
    """Write a few images of different sizes and formats, and links to them until there are `count` names."""
    rng = np.random.default_rng(0)
    for k in range(_DIFFERENT):
        pixels = rng.random((int(rng.integers(16, 64)), int(rng.integers(16, 64)), 3), np.float32)
        write_image(folder / f"{k}.{SUFFIXES[k % len(SUFFIXES)]}", Image(pixels))
    files = sorted(folder.iterdir())
    for k in range(_DIFFERENT, count):
        file = files[k % _DIFFERENT]
        (folder / f"link{k}{file.suffix}").symlink_to(file)
    return folder


def read_resident_memory() -> float:
    """Return the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MIB


def measure(folder: Path, count: int) -> dict[str, float]:
    """Upscale all images in one batch; outputs are deleted as they come, since only memory matters."""
    seen: list[float] = []
    request = UpscaleRequest(
        (make_images(folder / "in", count),), TargetSize(scale=2), naming=Naming(folder / "out")
    )
    with ConsoleReporter(verbosity=0) as reporter:

        def emit(event: Event) -> None:
            reporter.emit(event)
            if isinstance(event, ImageDone):
                seen.append(read_resident_memory())
                Path(str(event.task.target)).unlink()

        summary = batch.run(request, emit)
    if summary.exit_code:
        raise SystemExit(summary.exit_code)
    before, after = max(seen[:_SETTLED]), max(seen[_SETTLED:])
    return {"images": len(seen), "first_50": before, "later": after, "growth": after / before - 1}


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else RESULT
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), wanted)
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(found)
