"""Fit NIQE's model of good photographs to freely licensed ones.

    PYTHONPATH=. python benchmarks/experiments/fit_niqe.py ../shared/data/train

Takes the sharp patches of every tile whose original is a photograph, according to the sets in `tiles.csv`,
and writes their mean and covariance to srcli/imaging/metrics/niqe.json. The tiles are compressed images.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.metrics import niqe

# Sets of tiles with photographs only, or nearly so; the others contain drawings and screenshots.
PHOTOGRAPHS = ("cid22", "gb82", "xiph_subset1", "budgie", "ubuntu_mate")
# Patches count if they are at least this sharp, relative to the sharpest of their image (as in the paper).
SHARP = 0.75


def main() -> None:
    """Fit and write the model, and print how many patches were used."""
    folder = Path(sys.argv[1])
    with (folder / "tiles.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in PHOTOGRAPHS]
    features = np.concatenate([_extract_sharp(folder / row["file"]) for row in rows])
    licences = ", ".join(sorted({row["licence"] for row in rows}))
    source = (
        f"{len(features)} sharp patches of {len(rows)} tiles of photographs ({', '.join(PHOTOGRAPHS)}; "
        f"{licences}); benchmarks/experiments/fit_niqe.py"
    )
    covariance = np.cov(features, rowvar=False)[np.triu_indices(niqe.FEATURES)]
    raw = {
        "source": source,
        "mean": _round_values(features.mean(axis=0)),
        "covariance": _round_values(covariance),
    }
    niqe.MODEL.write_text(json.dumps(raw) + "\n", "utf-8")
    print(source)


def _extract_sharp(path: Path) -> NDArray[np.float64]:
    features, sharp = niqe.compute_features(luma(read_image(path).pixels.astype(np.float64)))
    sound = np.isfinite(features).all(axis=1)
    kept: NDArray[np.float64] = features[sound & (sharp > SHARP * sharp.max())]
    return kept


def _round_values(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.9g}") for value in values]


if __name__ == "__main__":
    main()
