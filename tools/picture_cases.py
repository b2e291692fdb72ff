"""Draw pictures whose kind is known, and count how `sr info` takes them, for the table in docs/auto.md.

Photographs are crops of the bundled samples; text is in Pillow's own font; drawings and sprites are made of
random shapes. Thresholds were chosen on the odd seeds, the tests and the docs use the even ones.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from srcli.imaging.picture_kind import Kind, examine_picture
from srcli.imaging.pixels import Samples

_ROOT = Path(__file__).parent.parent
SAMPLES, RESULT = _ROOT / "srcli" / "samples", _ROOT / "benchmarks" / "results" / "picture_kinds.json"
SEEDS = range(0, 60, 2)
_PHOTOS = ("astronaut", "camera", "chelsea", "coffee")
_WORDS = [
    *("the", "of", "and", "image", "picture", "resolution", "network", "sample", "pixel", "scale", "noise"),
    *("photograph", "table", "figure", "2019", "3.14", "method", "result", "Error", "between", "bicubic"),
    *("filter", "while", "enlarge", "(a)", "paper", "section", "however,", "thus.", "Set5", "PSNR", "28.43"),
]

Random = np.random.Generator


def draw_cases(seeds: range = SEEDS) -> Iterator[tuple[Kind, Samples]]:
    """Yield one picture (H, W, 3) of 8 bits of each kind for each seed, always the same."""
    for kind, draw in DRAW.items():
        for seed in seeds:
            yield (
                kind,
                np.asarray(draw(np.random.default_rng([seed, list(DRAW).index(kind)])).convert("RGB")),
            )


def count_answers(seeds: range = SEEDS) -> Counter[tuple[Kind, Kind]]:
    """Return how often each kind of picture was taken for which."""
    return Counter((kind, examine_picture(samples).kind) for kind, samples in draw_cases(seeds))


def draw_photo(random: Random) -> Image.Image:
    """Return a crop of a sample, sometimes reduced, turned, or saved as a good JPEG."""
    with Image.open(SAMPLES / f"{random.choice(_PHOTOS)}.png") as file:
        picture = file.convert("RGB")
    factor = random.choice([1, 1.5, 2])
    if factor > 1:
        size = (round(picture.width / factor), round(picture.height / factor))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    side = int(random.integers(128, min(picture.size)))
    left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
    picture = picture.crop((left, top, left + side, top + int(side * 0.8)))
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture


def save_as_jpeg(picture: Image.Image, quality: int, subsampling: int = 2) -> Image.Image:
    """Return a picture as it comes back from a JPEG file."""
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(io.BytesIO(held.getvalue())) as file:
        return file.convert("RGB")


def add_noise(picture: Image.Image, random: Random, deviation: float, grey: bool) -> Image.Image:
    """Return a picture with Gaussian noise, equal in all channels if `grey`."""
    samples = np.asarray(picture, np.float32)
    noise = random.normal(0, deviation, samples.shape[:2] + ((1,) if grey else (3,)))
    return Image.fromarray((samples + noise).round().clip(0, 255).astype(np.uint8))


def _draw_clean(random: Random) -> Image.Image:
    picture = draw_photo(random)
    return save_as_jpeg(picture, int(random.integers(90, 98))) if random.random() < 0.4 else picture


def _draw_noisy(random: Random) -> Image.Image:
    picture = add_noise(draw_photo(random), random, random.uniform(8, 30), random.random() < 0.4)
    return save_as_jpeg(picture, 95) if random.random() < 0.4 else picture


def _draw_blocked(random: Random) -> Image.Image:
    picture = draw_photo(random)
    if random.random() < 0.3:
        picture = add_noise(picture, random, random.uniform(3, 8), grey=False)
    picture = save_as_jpeg(picture, int(random.integers(10, 55)))
    if random.random() < 0.4:  # an editor crops, and saves again
        left, top = map(int, random.integers(0, 8, 2))
        picture = picture.crop((left, top, picture.width, picture.height))
    return save_as_jpeg(picture, 95) if random.random() < 0.6 else picture


def _draw_blurred(random: Random) -> Image.Image:
    picture = draw_photo(random)
    if random.random() < 0.3:
        return picture.filter(ImageFilter.BoxBlur(int(random.integers(2, 4))))
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(1.5, 4)))


def _draw_upscaled(random: Random) -> Image.Image:
    picture = draw_photo(random)
    factor = random.choice([2, 3, 4])
    small = picture.resize((round(picture.width / factor), round(picture.height / factor)))
    kernel = random.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
    return small.resize((small.width * int(factor), small.height * int(factor)), Image.Resampling(kernel))


def _draw_drawing(random: Random) -> Image.Image:
    """Draw outlined shapes of flat colours, at four times the size, so that edges are smooth."""
    width, height = (int(random.integers(160, 400)) for _ in range(2))
    canvas = Image.new("RGB", (4 * width, 4 * height), _pick_colour(random))
    pen = ImageDraw.Draw(canvas)
    if random.random() < 0.4:  # a sky: a gradient, as in animations
        top, bottom = np.array(_pick_colour(random)), np.array(_pick_colour(random))
        for y in range(4 * height):
            colour = tuple((top + (bottom - top) * y / (4 * height)).astype(int).tolist())
            pen.line((0, y, 4 * width, y), fill=colour)
    line = int(random.integers(4, 16))
    for _ in range(int(random.integers(6, 30))):
        x, y = int(random.integers(-width, 4 * width)), int(random.integers(-height, 4 * height))
        w, h = (int(random.integers(width // 2, 2 * width)) for _ in range(2))
        box = [x, y, x + w, y + h]
        fill, outline = _pick_colour(random), (20, 20, 30)
        match int(random.integers(0, 5)):
            case 0:
                pen.ellipse(box, fill=fill, outline=outline, width=line)
            case 1:
                pen.rounded_rectangle(box, w // 5, fill=fill, outline=outline, width=line)
            case 2:
                points = [
                    (int(box[0] + random.uniform(0, w)), int(box[1] + random.uniform(0, h))) for _ in range(5)
                ]
                pen.polygon(points, fill=fill, outline=outline, width=line)
            case 3:
                pen.arc(
                    box,
                    float(random.uniform(0, 180)),
                    float(random.uniform(180, 360)),
                    fill=outline,
                    width=line,
                )
            case _:
                pen.line([box[0], box[1], box[2], box[3]], fill=outline, width=line)
    picture = canvas.resize((width, height), Image.Resampling.BOX)
    return save_as_jpeg(picture, int(random.integers(85, 96))) if random.random() < 0.25 else picture


def _draw_text(random: Random) -> Image.Image:
    width, height = int(random.integers(200, 500)), int(random.integers(120, 400))
    paper, ink = (255, 255, 255), (0, 0, 0)
    style = random.random()
    if style < 0.2:
        paper, ink = (30, 30, 36), (220, 220, 210)
    elif style < 0.5:
        paper, ink = _pick_colour(random, 225), _pick_colour(random, 0, 90)
    picture = Image.new("RGB", (width, height), paper)
    pen, size = ImageDraw.Draw(picture), int(random.choice([8, 9, 10, 11, 12, 14, 16, 20, 28, 40]))
    font, y = ImageFont.load_default(size), int(random.integers(2, 12))
    while y < height:
        words = " ".join(random.choice(_WORDS, size=max(2, width // (size * 4))))
        pen.text((int(random.integers(4, 16)), y), words, fill=ink, font=font)
        y += int(size * random.choice([1.3, 1.3, 1.5, 2.2]))
    if random.random() < 0.25:  # a scan
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 0.8)))
        picture = add_noise(picture, random, random.uniform(1, 6), grey=True)
        return save_as_jpeg(picture, int(random.integers(75, 92)))
    return save_as_jpeg(picture, int(random.integers(80, 96))) if random.random() < 0.25 else picture


def _draw_pixel_art(random: Random) -> Image.Image:
    """Draw mirrored sprites on tiles in a small palette, and enlarge the pixels by a whole number."""
    width, height = int(random.integers(32, 97)), int(random.integers(32, 97))
    palette = random.integers(0, 256, (int(random.integers(4, 17)), 3)).astype(np.uint8)
    field = np.zeros((height, width), int)
    for y in range(0, height, 8):  # ground tiles
        field[y : y + 8, :] = np.tile(random.integers(0, 2, (8, 8)), (1, width // 8 + 1))[
            : height - y, :width
        ]
    for _ in range(int(random.integers(3, 9))):
        side = int(random.integers(8, 17))
        half = random.integers(0, len(palette), (side, side // 2))
        half = np.where(random.random(half.shape) < 0.4, half[side // 2, 0], half)
        sprite = np.concatenate([half, half[:, ::-1]], axis=1)
        y, x = int(random.integers(0, height - side)), int(random.integers(0, width - side))
        field[y : y + side, x : x + sprite.shape[1]] = sprite
    factor = int(random.integers(1, 9))
    picture = Image.fromarray(palette[field].repeat(factor, 0).repeat(factor, 1))
    if factor >= 3 and random.random() < 0.3:
        return save_as_jpeg(picture, int(random.integers(85, 96)))
    return picture


def _pick_colour(random: Random, low: int = 30, high: int = 256) -> tuple[int, int, int]:
    red, green, blue = random.integers(low, high, 3)
    return int(red), int(green), int(blue)


DRAW: dict[Kind, Callable[[Random], Image.Image]] = {
    Kind.CLEAN: _draw_clean,
    Kind.NOISY: _draw_noisy,
    Kind.BLOCKED: _draw_blocked,
    Kind.BLURRED: _draw_blurred,
    Kind.UPSCALED: _draw_upscaled,
    Kind.DRAWING: _draw_drawing,
    Kind.TEXT: _draw_text,
    Kind.PIXEL_ART: _draw_pixel_art,
}


def main() -> None:
    """Write the counts to benchmarks/results/picture_kinds.json."""
    counts = count_answers()
    rows = [{"is": kind, "taken_for": {answer: counts[kind, answer] for answer in DRAW}} for kind in DRAW]
    RESULT.write_text(json.dumps({"seeds": list(SEEDS), "rows": rows}, indent=1) + "\n", "utf-8")
    print(f"{sum(counts[kind, kind] for kind in DRAW)} of {counts.total()} are right")


if __name__ == "__main__":
    main()
