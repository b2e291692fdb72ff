"""Does a network do better on its training tiles than on held-out images of the same source?

    python benchmarks/experiments/generalisation.py ../shared/data WEIGHTS

Writes benchmarks/results/generalisation.json: the gain in PSNR-Y over bicubic on the training tiles of CID22
and on the validation images, which are CID22's own held-out part. Difficult images gain more or less than
easy ones, so the gain expected of the held-out images is a line fitted to the training tiles.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import srcli
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import quantise
from srcli.imaging.resize import resize

RESULTS = Path(__file__).parents[1] / "results" / "generalisation.json"
SCALE = 4
SOURCE = "cid22"


def measure(model: srcli.Model, file: Path) -> tuple[float, float]:
    """Return the PSNR-Y of bicubic and of the model on an image that is reduced by bicubic."""
    truth = read_image(file).pixels
    height, width = truth.shape[0] // SCALE, truth.shape[1] // SCALE
    small = quantise(resize(truth, height, width)) / np.float32(255)
    inner = slice(SCALE, -SCALE)
    target = luma(truth)[inner, inner]
    results = (resize(small, *truth.shape[:2]), model(small))
    first, second = (
        psnr(luma(quantise(np.clip(large, 0, 1)) / np.float32(255))[inner, inner], target)
        for large in results
    )
    return float(first), float(second)


def main(data: Path, weights: Path) -> None:
    """Measure the tiles and the validation images, and write the difference."""
    with (data / "train" / "tiles.csv").open(newline="", encoding="utf-8") as file:
        tiles = [data / "train" / row["file"] for row in csv.DictReader(file) if row["set"] == SOURCE]
    model = srcli.load(scale=SCALE, weights=weights)
    seen, unseen = (
        np.array([measure(model, file) for file in files])
        for files in (sorted(tiles), sorted((data / "valid").glob("*.png")))
    )
    surplus = _gain(unseen) - np.polyval(np.polyfit(seen[:, 0], _gain(seen), 1), unseen[:, 0])
    results = {
        "weights": weights.name,
        "tiles": len(seen),
        "images": len(unseen),
        "gain_on_tiles": float(_gain(seen).mean()),
        "gain_on_images": float(_gain(unseen).mean()),
        "difference": float(surplus.mean()),
        "standard_error": float(surplus.std(ddof=1) / np.sqrt(len(surplus))),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


def _gain(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(scores[:, 1] - scores[:, 0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
