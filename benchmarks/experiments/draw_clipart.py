"""Draw training pictures for `anime` from the clip art of Debian's package openclipart-svg (public domain).

    python benchmarks/experiments/draw_clipart.py usr/share/openclipart/svg OUT COUNT

Each picture is 768x768: clip art of many sizes on a flat or a shaded ground, with lines of text. Needs
`rsvg-convert`.
"""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 768
FOLDERS = (
    *("people", "animals", "recreation", "transportation", "food"),
    *("plants", "buildings", "unsorted", "clothing"),
)
FONTS = tuple(sorted(Path("/usr/share/fonts").rglob("*.ttf")))
WORDS = ("Super", "Resolution", "1234567890", "drawings", "and", "letters", "are", "sharp", "soft")


def draw_clip(file: Path, width: int) -> Image.Image | None:
    """Return the clip art at this width in pixels, or None if it cannot be drawn."""
    command = ["rsvg-convert", "-w", str(width), "-a", str(file)]
    try:
        result = subprocess.run(command, capture_output=True, timeout=20, check=True)
        return Image.open(io.BytesIO(result.stdout)).convert("RGBA")
    except (subprocess.SubprocessError, OSError):
        return None


def draw_ground(rng: np.random.Generator) -> Image.Image:
    """Return a ground of one colour, or of two that blend."""
    first, second = rng.integers(0, 256, (2, 3))
    if rng.random() < 0.4:
        second = first if rng.random() < 0.5 else first * 0 + 255
    angle, (y, x) = rng.uniform(0, 6.28), np.mgrid[0:SIDE, 0:SIDE] / SIDE
    share = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    return Image.fromarray(np.round(first * (1 - share) + second * share).astype(np.uint8))


def draw_text(picture: Image.Image, rng: np.random.Generator) -> None:
    """Write a line of words somewhere."""
    font = ImageFont.truetype(str(FONTS[rng.integers(len(FONTS))]), int(rng.integers(18, 60)))
    line = " ".join(rng.permutation(WORDS)[: rng.integers(1, 5)])
    place = (int(rng.integers(0, SIDE // 2)), int(rng.integers(0, SIDE - 60)))
    ImageDraw.Draw(picture).text(place, line, tuple(map(int, rng.integers(0, 256, 3))), font=font)


def draw_picture(files: list[Path], rng: np.random.Generator) -> Image.Image:
    """Return a picture of six to fifteen clips."""
    picture = draw_ground(rng)
    for _ in range(rng.integers(6, 16)):
        clip = draw_clip(files[rng.integers(len(files))], int(rng.integers(150, 560)))
        if clip is not None and clip.height < 2 * SIDE:
            left, top = (int(rng.integers(-side // 3, SIDE - side // 2)) for side in clip.size)
            picture.paste(clip, (left, top), clip)
    if FONTS and rng.random() < 0.5:
        draw_text(picture, rng)
    return picture


def main(folder: Path, out: Path, count: int) -> None:
    """Draw the pictures that are missing."""
    files = sorted(
        file for name in FOLDERS for file in (folder / name).rglob("*.svg*") if file.stat().st_size > 8_000
    )
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        target = out / f"{number:04}.png"
        if not target.exists():
            draw_picture(files, np.random.default_rng((3, number))).save(target)
    print(len(files), "clips")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
