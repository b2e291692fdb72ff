"""Draw the picture of docs/real.md: small, noisy JPEG files by bicubic, the default network and `-m real`.

    PYTHONPATH=. python tools/real.py

The bundled photographs are downscaled by 2, get noise and are saved as JPEG of low quality, as a cheap camera
or a messenger would leave them.
"""

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from srcli.cli.app import run
from srcli.imaging.image import read_image
from srcli.imaging.pixels import to_uint8
from srcli.imaging.resize import resize

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "real.webp"
NAMES = ("chelsea", "astronaut", "coffee")
NOISE, QUALITY = 6 / 255, 45
PLACE = "60,30,100,80"


def degrade_photograph(source: Path, target: Path) -> None:
    """Downscale by 2, add noise and save as JPEG."""
    pixels = read_image(source).pixels
    small = resize(pixels, pixels.shape[0] // 2, pixels.shape[1] // 2, "bilinear")
    noise = np.random.default_rng(0).normal(0, NOISE, small.shape)
    samples = to_uint8((small + noise).astype(np.float32))
    cv2.imwrite(str(target), samples[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def main() -> None:
    """Degrade, compare and write."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.jpg" for name in NAMES]
        for name, file in zip(NAMES, files, strict=True):
            degrade_photograph(ROOT / "srcli" / "samples" / f"{name}.png", file)
        models = ["-m", "bicubic", "-m", "ecbsr", "-m", "real"]
        words = ["-x4", *models, "--crop", PLACE, "--preview", "none", "-o", str(PICTURE), "--overwrite"]
        if run(["compare", *map(str, files), *words]):
            sys.exit(1)


if __name__ == "__main__":
    main()
