"""Measure the methods without a training set, and write what they give over bicubic.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tools/classical.py [NAME ...]

Reads Set5 of ../shared/data; writes benchmarks/results/classical.json. With names only these methods are
measured, and the others' figures kept; "blind" is the table of blurs. Seconds are those of the processor, on
one core. The settings were chosen on other photographs: those that ship with sr.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srcli import bench, classical, datasets, methods
from srcli.bench.work import score_picture
from srcli.classical import Settings
from srcli.datasets import Picture
from srcli.imaging.blur import Bell, Kernel
from srcli.imaging.degrade import bicubic_lr
from srcli.imaging.pixels import Pixels, crop_to_multiple, from_uint8, to_uint8
from srcli.imaging.resize import resize
from srcli.imaging.steps import Filter
from srcli.methods import Method, Options

ROOT = Path(__file__).parent.parent
SET5 = ROOT.parent / "shared" / "data" / "Set5"
RESULTS = ROOT / "benchmarks" / "results" / "classical.json"

SCALE = 2
# Seconds an image; the others take as long as they take.
WITHIN = {"dip": 60.0}


@dataclass(frozen=True)
class Row:
    """One method on Set5: mean PSNR-Y in dB and SSIM-Y, the gain over bicubic, processor seconds an image."""

    method: str
    scale: int
    psnr_y: float
    ssim_y: float
    gain: float
    seconds: float
    images: dict[str, float]


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of methods, or blind")
    names = parser.parse_args().names or [*classical.METHODS, "blind"]
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": [], "blind": []}
    for name in names:
        if name == "blind":
            found["blind"] = list(blind())
        else:
            others = [row for row in found["rows"] if row["method"] != name]
            found["rows"] = sorted([*others, asdict(measured(name))], key=_order)
            print(*(f"{row['method']} {row['gain']:+.3f}" for row in found["rows"]), flush=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def _order(row: dict[str, Any]) -> int:
    return list(classical.METHODS).index(row["method"])


def _pictures() -> Iterator[Picture]:
    return datasets.folder(SET5).pictures()


def measured(name: str) -> Row:
    """The row of one method."""
    options = Options(untrained=Settings(within=WITHIN.get(name)))
    method, bicubic = methods.find(name, SCALE, options), methods.interpolator("bicubic")
    start = time.process_time()
    scores = [score_picture(method, picture, SCALE) for picture in _pictures()]
    seconds = (time.process_time() - start) / len(scores)
    row = bench.mean_row(scores, 0)
    images = {score.image: round(score.psnr_y, 3) for score in scores}
    gain = row.psnr_y - bench.evaluate(bicubic, _pictures(), SCALE).psnr_y
    return Row(
        name, SCALE, round(row.psnr_y, 3), round(row.ssim_y, 4), round(gain, 3), round(seconds, 1), images
    )


# Blurs at the large size, and what is done against them: the name of a method, and what it is told.
BLURS: dict[str, Kernel] = {
    "none": Bell(1, 1.0, 1.0),
    "round, 1.5 pixels": Bell(13, 1.5, 1.5),
    "oblong, 2.5 and 1 pixels": Bell(13, 2.5, 1.0, 0.6),
}
BLURRED = ("bird", "butterfly")
TOLD = ("nothing", "truth")


def blind(name: str = "ibp") -> Iterator[dict[str, Any]]:
    """PSNR-Y on two images of Set5 blurred before they are reduced, by what the method is told of it."""
    pictures = [picture for picture in _pictures() if picture.name in BLURRED]
    for label, bell in BLURS.items():
        yield {
            "blur": label,
            "method": name,
            "bicubic": _blurred(methods.interpolator("bicubic"), pictures, bell),
        } | {told: _blurred(_told(name, told, bell), pictures, bell) for told in TOLD}


def _told(name: str, told: str, bell: Kernel) -> Method:
    kernel = bell if told == "truth" else None
    return methods.find(name, SCALE, Options(untrained=Settings(kernel=kernel)))


def _blurred(method: Method, pictures: list[Picture], bell: Kernel) -> float:
    """Mean PSNR-Y in dB of images that were blurred, reduced by bicubic and rounded."""
    scores = []
    for picture in pictures:
        hr = crop_to_multiple(picture.pixels, SCALE)
        sr = method(_small(hr, bell), SCALE)
        scores.append(bench.score(sr, hr, SCALE, picture.grey).psnr_y)
    return round(float(np.mean(scores)), 3)


def _small(hr: Pixels, bell: Kernel) -> Pixels:
    if len(bell.weights()) == 1:
        return bicubic_lr(hr, SCALE)
    height, width = (side // SCALE for side in hr.shape[:2])
    return from_uint8(to_uint8(resize(Filter(bell).on(hr), height, width)))


if __name__ == "__main__":
    main()
