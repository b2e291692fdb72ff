"""Measure the methods without training data and their gain over bicubic.

    PYTHONPATH=. OMP_NUM_THREADS=1 python benchmarks/experiments/classical.py [NAME ...]

Reads Set5 and BSD100 of ../shared/data; writes benchmarks/results/classical.json. With names, measures only
these methods and keeps the other figures; "blind" is the table of blurs. Seconds are processor time on one
core. The settings of the methods were tuned on other photographs, the bundled samples.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srcli import bench, datasets, methods
from srcli.bench.scoring import score_picture
from srcli.datasets import Picture
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.degrade.kernels import BellKernel, BlurKernel
from srcli.imaging.degrade.steps import Filter
from srcli.imaging.pixels import Pixels, crop_to_multiple, from_uint8, to_uint8
from srcli.imaging.resize import resize
from srcli.methods import Method, MethodOptions, classical
from srcli.methods.classical import UntrainedSettings
from srcli.methods.classical.blind import estimate_blur
from srcli.methods.classical.problem import Problem

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SAMPLES = ROOT / "srcli" / "samples"
RESULTS = ROOT / "benchmarks" / "results" / "classical.json"

SCALE = 2
# Seconds per image; the other methods have no limit.
WITHIN = {"dip": 60.0}


@dataclass(frozen=True)
class Row:
    """One method on Set5: mean PSNR-Y in dB and SSIM-Y, gain over bicubic, processor seconds per image."""

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
    parser.add_argument("names", nargs="*", help="methods, or blind")
    names = parser.parse_args().names or [*classical.METHODS, "blind"]
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": [], "blind": []}
    for name in names:
        if name == "blind":
            result["blind"] = list(measure_blind())
        else:
            others = [row for row in result["rows"] if row["method"] != name]
            result["rows"] = sorted([*others, asdict(measure_method(name))], key=_get_order)
            print(*(f"{row['method']} {row['gain']:+.3f}" for row in result["rows"]), flush=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def _get_order(row: dict[str, Any]) -> int:
    return list(classical.METHODS).index(row["method"])


def _load_set5() -> Iterator[Picture]:
    return datasets.open_folder(DATA / "Set5").read_pictures()


def measure_method(name: str) -> Row:
    """Measure one method on Set5."""
    options = MethodOptions(untrained=UntrainedSettings(within=WITHIN.get(name)))
    method, bicubic = methods.load_method(name, SCALE, options), methods.Interpolator("bicubic")
    start = time.process_time()
    scores = [score_picture(method, picture, SCALE) for picture in _load_set5()]
    seconds = (time.process_time() - start) / len(scores)
    row = bench.average_scores(scores, 0)
    images = {score.image: round(score.psnr_y, 3) for score in scores}
    gain = row.psnr_y - bench.evaluate(bicubic, _load_set5(), SCALE).psnr_y
    return Row(
        name, SCALE, round(row.psnr_y, 3), round(row.ssim_y, 4), round(gain, 3), round(seconds, 1), images
    )


# Blurs in pixels of the large image.
BLURS: dict[str, BlurKernel] = {
    "none": BellKernel(1, 1.0, 1.0),
    "round, 0.8 pixels": BellKernel(13, 0.8, 0.8),
    "round, 1.2 pixels": BellKernel(13, 1.2, 1.2),
    "round, 1.6 pixels": BellKernel(13, 1.6, 1.6),
    "oblong, 2 and 0.8 pixels": BellKernel(13, 2.0, 0.8, 0.6),
}
# One in ten images of BSD100 is used.
EVERY = 10
# Images of Set5 for a method that takes half a minute per image.
FEW = ("bird", "butterfly")


def measure_blind() -> Iterator[dict[str, Any]]:
    """Yield the rows for blurred images, set by set."""
    for label, pictures in _load_blind_sets().items():
        for blur in BLURS:
            yield _measure_blur(label, pictures, blur, "ibp")
    few = [picture for picture in _load_set5() if picture.name in FEW]
    yield _measure_blur(f"{' and '.join(FEW)} of Set5", few, "round, 1.6 pixels", "zssr")


def _measure_blur(label: str, pictures: list[Picture], blur: str, name: str) -> dict[str, Any]:
    """Measure mean PSNR-Y of bicubic and of the method with no kernel, the estimate and the true kernel.

    `worst`: gain of the estimate on the image where it helps least, in dB; `estimates`: mean standard
    deviations along and across; no blur counts as 0.
    """
    bell = BLURS[blur]
    kernels = {"nothing": None, "auto": classical.AUTO, "truth": bell}
    scores = {"bicubic": _score_blurred(methods.Interpolator("bicubic"), pictures, bell)}
    for key, kernel in kernels.items():
        scores[key] = _score_blurred(_load_with_kernel(name, kernel), pictures, bell)
    result = [estimate_blur(_build_problem(picture, bell)) for picture in pictures]
    sigmas = [(each.sigma, each.sigma2) if each else (0.0, 0.0) for each in result]
    return {
        "set": label,
        "blur": blur,
        "method": name,
        **{key: round(float(np.mean(values)), 3) for key, values in scores.items()},
        "worst": round(float(np.min(np.subtract(scores["auto"], scores["nothing"]))), 3),
        "estimates": np.mean(sigmas, axis=0).round(2).tolist(),
    }


def _load_blind_sets() -> dict[str, list[Picture]]:
    bsd = list(datasets.open_folder(DATA / "BSD100").read_pictures())[::EVERY]
    return {f"{len(bsd)} of BSD100": bsd, "samples": list(datasets.open_folder(SAMPLES).read_pictures())}


def _build_problem(picture: Picture, bell: BlurKernel) -> Problem:
    hr = crop_to_multiple(picture.pixels, SCALE)
    return Problem(_downscale_blurred(hr, bell), hr.shape[:2])


def _load_with_kernel(name: str, kernel: BlurKernel | Literal["auto"] | None) -> Method:
    return methods.load_method(name, SCALE, MethodOptions(untrained=UntrainedSettings(kernel=kernel)))


def _score_blurred(method: Method, pictures: list[Picture], bell: BlurKernel) -> list[float]:
    """Return PSNR-Y in dB for images that are blurred, downscaled by bicubic and rounded."""
    scores = []
    for picture in pictures:
        hr = crop_to_multiple(picture.pixels, SCALE)
        sr = method(_downscale_blurred(hr, bell), SCALE)
        scores.append(bench.score(sr, hr, SCALE, picture.grey).psnr_y)
    return scores


def _downscale_blurred(hr: Pixels, bell: BlurKernel) -> Pixels:
    if len(bell.weights()) == 1:
        return downscale_bicubic(hr, SCALE)
    height, width = (side // SCALE for side in hr.shape[:2])
    return from_uint8(to_uint8(resize(Filter(bell).apply(hr), height, width)))


if __name__ == "__main__":
    main()
