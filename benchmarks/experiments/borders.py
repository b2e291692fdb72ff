"""Borders of networks that pad by zeros: scores on Set5, and how dark white borders become.

    python benchmarks/experiments/borders.py ../shared/data/Set5

Writes benchmarks/results/borders.json: PSNR-Y with zeros, with the border pixel repeated and with the image
mirrored, and by how many of 255 levels the border of a white image becomes darker.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from srcli.engine.upscaler import Upscaler
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.metrics.full_reference import psnr
from srcli.imaging.pixels import Pixels, quantise
from srcli.methods import MethodOptions, load_method

RESULTS = Path(__file__).parents[1] / "results" / "borders.json"
MODELS = ("fsrcnn", "espcn", "ecbsr")
MODES = {"zero": None, "repeat": "edge", "mirror": "symmetric"}
_MARGIN = 16


def upscale(stage: Upscaler, pixels: Pixels, mode: str | None) -> Pixels:
    """Upscale an image that `mode` of `numpy.pad` extends, if one is given, and crop the result."""
    if mode is None:
        return stage(pixels)
    sides = [(_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)]
    inner = slice(_MARGIN * stage.scale, -_MARGIN * stage.scale)
    return stage(np.pad(pixels, sides, mode))[inner, inner]  # type: ignore[call-overload]


def score(stage: Upscaler, folder: Path, mode: str | None) -> float:
    """Return the mean PSNR-Y on a folder by the protocol y-crop; LR_bicubic holds the small images."""
    scores = []
    for path in sorted(folder.glob("*.png")):
        small = read_image(
            folder / "LR_bicubic" / f"X{stage.scale}" / f"{path.stem}x{stage.scale}.png"
        ).pixels
        large = upscale(stage, small, mode)
        truth = read_image(path).pixels[: large.shape[0], : large.shape[1]]
        inner = slice(stage.scale, -stage.scale)
        ours = luma(quantise(np.clip(large, 0, 1)) / np.float32(255))
        scores.append(psnr(ours[inner, inner], luma(truth)[inner, inner]))
    return float(np.mean(scores))


def main(folder: Path) -> None:
    """Measure all models and write the results."""
    white, results = np.ones((40, 40, 3), np.float32), {}
    for model in MODELS:
        for scale in (2, 3, 4):
            (stage,) = load_method(model, scale, MethodOptions("cpu")).stages
            plain = replace(stage, mirrors_border=False)
            results[f"{model}-x{scale}"] = {
                name: {
                    "psnr_y": round(score(plain, folder, mode), 4),
                    "darker": round(255 * (1 - float(upscale(plain, white, mode).min())), 1),
                }
                for name, mode in MODES.items()
            }
            print(model, scale, results[f"{model}-x{scale}"], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
