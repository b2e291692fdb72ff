"""NIQE's model of good photographs, fitted to freely licensed ones.

    PYTHONPATH=. python benchmarks/experiments/fit_niqe.py ../shared/data/train

Takes the sharp patches of every tile whose original is a photograph, by the sets that `tiles.csv` names, and
writes their mean and covariance to srcli/imaging/metrics/niqe.json. The tiles are compressed images.
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

# Sets of tiles that hold photographs only, or nearly so; the others have drawings and screens.
PHOTOGRAPHS = ("cid22", "gb82", "xiph_subset1", "budgie", "ubuntu_mate")
# Patches at least this sharp, as a share of the sharpest of their image, count: the paper's threshold.
SHARP = 0.75


def main() -> None:
    """Fit, and say how much went in."""
    folder = Path(sys.argv[1])
    with (folder / "tiles.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] in PHOTOGRAPHS]
    found = np.concatenate([_good(folder / row["file"]) for row in rows])
    licences = ", ".join(sorted({row["licence"] for row in rows}))
    source = (
        f"{len(found)} sharp patches of {len(rows)} tiles of photographs ({', '.join(PHOTOGRAPHS)}; "
        f"{licences}); benchmarks/experiments/fit_niqe.py"
    )
    covariance = np.cov(found, rowvar=False)[np.triu_indices(niqe.FEATURES)]
    raw = {"source": source, "mean": _short(found.mean(axis=0)), "covariance": _short(covariance)}
    niqe.MODEL.write_text(json.dumps(raw) + "\n", "utf-8")
    print(source)


def _good(path: Path) -> NDArray[np.float64]:
    found, sharp = niqe.compute_features(luma(read_image(path).pixels.astype(np.float64)))
    sound = np.isfinite(found).all(axis=1)
    kept: NDArray[np.float64] = found[sound & (sharp > SHARP * sharp.max())]
    return kept


def _short(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.9g}") for value in values]


if __name__ == "__main__":
    main()
