"""Draw the pictures of docs/real.md: small, noisy JPEG files by bicubic, by `-m real` and by larger networks.

    PYTHONPATH=. python tools/real.py [real | realesrgan]

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
DOCS = ROOT / "docs"
NAMES = ("chelsea", "astronaut", "coffee")
NOISE, QUALITY = 6 / 255, 45
# Left, top, width and height, in pixels of the degraded photographs.
PLACE = (60, 30, 100, 80)
# The methods of each picture. Large networks see less of the photographs, as they take long.
PICTURES = {
    "real": ("bicubic", "ecbsr", "real"),
    "realesrgan": (
        *("bicubic", "real", "realesrgan"),
        *("realesrgan-anime", "realesr-animevideo", "waifu2x-photo-n3"),
    ),
}


def degrade_photograph(source: Path, target: Path) -> None:
    """Downscale by 2, add noise and save as JPEG."""
    pixels = read_image(source).pixels
    small = resize(pixels, pixels.shape[0] // 2, pixels.shape[1] // 2, "bilinear")
    noise = np.random.default_rng(0).normal(0, NOISE, small.shape)
    samples = to_uint8((small + noise).astype(np.float32))
    cv2.imwrite(str(target), samples[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def crop_surroundings(file: Path, margin: int = 16) -> None:
    """Crop a photograph to what is shown of it, and a margin."""
    left, top, width, height = PLACE
    pixels = cv2.imread(str(file))
    assert pixels is not None
    rows, columns = slice(top - margin, top + height + margin), slice(left - margin, left + width + margin)
    cv2.imwrite(str(file.with_suffix(".png")), pixels[rows, columns])
    file.unlink()


def draw_picture(name: str) -> None:
    """Degrade, compare and write docs/NAME.webp."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{photo}.jpg" for photo in NAMES]
        for photo, file in zip(NAMES, files, strict=True):
            degrade_photograph(ROOT / "srcli" / "samples" / f"{photo}.png", file)
        place = PLACE
        if name != "real":
            for file in files:
                crop_surroundings(file, 16)
            place = (16, 16, *PLACE[2:])
        models = [word for model in PICTURES[name] for word in ("-m", model)]
        words = ["-x4", *models, "--crop", ",".join(map(str, place)), "--preview", "none"]
        if run(
            [
                "compare",
                *map(str, sorted(Path(folder).iterdir())),
                *words,
                "-o",
                str(DOCS / f"{name}.webp"),
                "--overwrite",
            ]
        ):
            sys.exit(1)


def main() -> None:
    """Draw the pictures named on the command line, or all."""
    for name in sys.argv[1:] or PICTURES:
        draw_picture(name)


if __name__ == "__main__":
    main()
