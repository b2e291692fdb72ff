"""Draw docs/realesrgan.webp: small, noisy JPEG files by bicubic, our networks and those of two packages.

    PYTHONPATH=. python tools/real.py

The bundled photographs are downscaled by 2, get noise and are saved as JPEG of low quality, as a cheap camera
or a messenger would leave them. Needs the extras photo and waifu2x.
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
NAMES = ("chelsea", "astronaut", "coffee")
NOISE, QUALITY = 6 / 255, 45
# Left, top, width and height, in pixels of the degraded photographs; large networks see no more of them.
PLACE, MARGIN = (60, 30, 100, 80), 16
METHODS = (
    *("bicubic", "photo-lite", "photo", "realesrgan"),
    *("realesrgan-anime", "realesr-animevideo", "waifu2x-photo-n3"),
)


def degrade_photograph(source: Path, target: Path) -> None:
    """Downscale by 2, add noise, save as JPEG, and write what is shown of it, with a margin, as PNG."""
    pixels = read_image(source).pixels
    small = resize(pixels, pixels.shape[0] // 2, pixels.shape[1] // 2, "bilinear")
    noise = np.random.default_rng(0).normal(0, NOISE, small.shape)
    samples = to_uint8((small + noise).astype(np.float32))
    _, data = cv2.imencode(".jpg", samples[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    left, top, width, height = PLACE
    rows, columns = (slice(at - MARGIN, at + side + MARGIN) for at, side in ((top, height), (left, width)))
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    cv2.imwrite(str(target), decoded[rows, columns])


def main() -> None:
    """Degrade, compare and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        for photo in NAMES:
            degrade_photograph(ROOT / "srcli" / "samples" / f"{photo}.png", Path(folder) / f"{photo}.png")
        models = [word for model in METHODS for word in ("-m", model)]
        place = ",".join(map(str, (MARGIN, MARGIN, *PLACE[2:])))
        words = ["compare", *map(str, sorted(Path(folder).iterdir())), "-x4", *models, "--crop", place]
        target = str(ROOT / "docs" / "realesrgan.webp")
        sys.exit(run([*words, "--preview", "none", "-o", target, "--overwrite"]))


if __name__ == "__main__":
    main()
