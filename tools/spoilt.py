"""Compare methods on twelve spoilt pictures: the sheets and figures of docs/real.md.

    PYTHONPATH=. python tools/spoilt.py [--model NAME_OR_FILE] [--out FOLDER]
    PYTHONPATH=. python tools/spoilt.py --rate PAGE

Parts of the bundled photographs, a page of text and a drawing are spoilt as phones and messengers do it,
then upscaled by 4; one of them is kept for `make demo`. Real-ESRGAN x4plus (extra photo), with the colours
of its input, is what the others are measured against; its results are kept in the cache, as they take
minutes. No picture was trained on. PAGE is for people to rate the methods blindly, with eight pictures more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import srcli
from srcli.imaging.color import luma
from srcli.imaging.image import read_image
from srcli.imaging.metrics.niqe import niqe
from srcli.imaging.pixels import to_uint8
from srcli.storage.files import get_cache_folder
from srcli.upscaling.postprocess import Postprocess

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "spoilt.json"
DOCS = ROOT / "docs"
TEACHER = "realesrgan"
METHODS = ("bicubic", "slimres", "photo-lite", "photo", TEACHER)
SCALE = 4
# Columns and rows of a spoilt picture, and the border that sheets and figures leave out.
WIDTH, HEIGHT, MARGIN = 112, 96, 8
CASES_PER_SHEET = 4
PHONE = 1  # the case that `make demo` upscales
GAP, TITLE = 6, 26  # pixels
PAGE = (
    *("It was the best of", "times, it was the", "worst of times, it"),
    *("was the age of", "wisdom, it was the", "age of foolishness"),
)

Samples = NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    """A part of a picture at `left`, `top`, reduced by `reduction`, and how it is spoilt."""

    name: str
    picture: str
    left: int
    top: int
    reduction: float
    kind: str


CASES = (
    Case("face", "astronaut", 150, 40, 2, "messenger"),
    Case("small face", "astronaut", 60, 0, 3.5, "phone"),
    Case("badge", "astronaut", 200, 300, 2, "jpeg"),
    Case("cat", "chelsea", 120, 60, 2, "jpeg"),
    Case("whiskers", "chelsea", 190, 110, 1.5, "phone"),
    Case("fur", "chelsea", 20, 150, 1.5, "noise"),
    Case("cup", "coffee", 180, 60, 2.5, "messenger"),
    Case("table", "coffee", 360, 200, 1.8, "noise"),
    Case("cameraman", "camera", 150, 60, 2, "jpeg"),
    Case("lawn", "camera", 260, 300, 1.8, "phone"),
    Case("page", "page", 0, 0, 1, "jpeg"),
    Case("drawing", "drawing", 0, 0, 1, "messenger"),
)

# More of them, for people to rate.
MORE_CASES = (
    Case("hair", "astronaut", 170, 0, 1.5, "phone"),
    Case("rocket", "astronaut", 380, 60, 1.8, "jpeg"),
    Case("nose", "chelsea", 180, 130, 1.2, "messenger"),
    Case("ear", "chelsea", 60, 10, 1.6, "jpeg"),
    Case("spoon", "coffee", 330, 60, 2, "phone"),
    Case("foam", "coffee", 250, 110, 1.2, "jpeg"),
    Case("tripod", "camera", 200, 200, 2.2, "messenger"),
    Case("buildings", "camera", 330, 120, 1.6, "noise"),
)
RATED = ("bicubic", "slimres", "photo", TEACHER)


def make_case(case: Case) -> Samples:
    """Return the spoilt picture of a case: (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(int(sha256(case.name.encode()).hexdigest()[:8], 16))
    drawn = {"page": draw_page, "drawing": draw_drawing}
    if case.picture in drawn:
        return spoil(drawn[case.picture](), case.kind, rng)
    pixels = read_image(ROOT / "srcli" / "samples" / f"{case.picture}.png").pixels
    picture = np.broadcast_to(to_uint8(pixels), (*pixels.shape[:2], 3))
    rows, columns = round(HEIGHT * case.reduction), round(WIDTH * case.reduction)
    top, left = min(case.top, len(picture) - rows), min(case.left, picture.shape[1] - columns)
    part = Image.fromarray(np.ascontiguousarray(picture[top : top + rows, left : left + columns]))
    return spoil(np.asarray(part.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)), case.kind, rng)


def spoil(pixels: Samples, kind: str, rng: Rng) -> Samples:
    """Return the picture as a low-quality `jpeg`, by `messenger`, from a `phone`, or with `noise`."""
    if kind == "jpeg":
        return recompress(pixels, 40)
    if kind == "messenger":  # saved by the camera, then moved off its blocks and saved again
        return recompress(np.roll(recompress(pixels, 85), (3, 5), (0, 1)), 55)
    values = pixels.astype(np.float32)
    if kind == "noise":
        return _round(values + rng.normal(0, 9, values.shape))
    noisy = _round(values + rng.normal(0, 8, (*values.shape[:2], 1)))
    smooth = cv2.bilateralFilter(noisy, 5, 30, 2).astype(np.float32)
    sharpened = smooth + 0.8 * (smooth - cv2.GaussianBlur(smooth, (0, 0), 1.2))
    return recompress(_round(sharpened), 80)


def recompress(pixels: Samples, quality: int) -> Samples:
    """Save as JPEG and read again."""
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8)


def _round(values: NDArray[np.floating]) -> Samples:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def draw_page() -> Samples:
    """Draw six lines of small text."""
    page = Image.new("RGB", (WIDTH, HEIGHT), (252, 250, 244))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for number, line in enumerate(PAGE):
        pen.text((5, 4 + 15 * number), line, (30, 28, 40), font)
    return np.asarray(page)


def draw_drawing() -> Samples:
    """Draw flat colours with black outlines, at four times the size."""
    image = Image.new("RGB", (4 * WIDTH, 4 * HEIGHT), (168, 208, 240))
    pen, black = ImageDraw.Draw(image), (20, 16, 24)
    pen.rectangle((0, 300, 448, 384), (122, 176, 92), black, 5)
    pen.ellipse((130, 70, 310, 270), (250, 218, 190), black, 6)
    pen.chord((120, 40, 320, 230), 180, 360, (120, 62, 40), black, 6)
    for left in (175, 245):
        pen.ellipse((left, 140, left + 32, 186), (255, 255, 255), black, 4)
        pen.ellipse((left + 9, 150, left + 25, 180), (60, 110, 170), black, 3)
    pen.arc((185, 190, 255, 240), 20, 160, (170, 50, 60), 6)
    pen.polygon([(140, 384), (170, 280), (270, 280), (310, 384)], (206, 70, 74), black)
    pen.line([(140, 384), (170, 280), (270, 280), (310, 384)], black, 6)
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def upscale_all(method: str, spoilt: list[Samples]) -> list[Samples]:
    """Return the results of a model or weight file; the teacher's come from the cache if they can."""
    weights = method if Path(method).exists() else None
    model = None
    results = []
    for pixels in spoilt:
        key = sha256(pixels.tobytes()).hexdigest()[:16]
        kept = get_cache_folder() / "spoilt" / f"{method}-{srcli.__version__}-{key}.png"
        if method != TEACHER or not kept.exists():
            model = model or srcli.load(None if weights else method, scale=SCALE, weights=weights)
            # As the network makes it, in the input's colours: the student learned from that.
            result = model(pixels, postprocess=Postprocess(faithful=False))
            if method == TEACHER:
                kept.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(result).save(kept)
        else:
            result = np.asarray(Image.open(kept))
        results.append(result)
    return results


def measure(result: Samples, teacher: Samples) -> dict[str, float]:
    """Return PSNR in dB, correlation and share of detail against the teacher; NIQE and mean gradient."""
    border = slice(SCALE * MARGIN, -SCALE * MARGIN)
    ours, theirs = (picture[border, border].astype(np.float64) / 255 for picture in (result, teacher))
    plane = luma(ours)
    detail, wanted = (_extract_detail(each) for each in (plane, luma(theirs)))
    figures = {
        "correlation": np.corrcoef(detail.ravel(), wanted.ravel())[0, 1],
        "share": detail.std() / wanted.std(),
        "niqe": niqe(plane),
        "gradient": np.mean(np.hypot(*np.gradient(plane))) * 255,
    }
    error = np.mean((ours - theirs) ** 2)
    if error:
        figures["psnr"] = -10 * np.log10(error)
    return {name: float(value) for name, value in figures.items()}


def _extract_detail(plane: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return an image minus its Gaussian blur of sigma 2."""
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 2))


def draw_sheets(columns: dict[str, list[Samples]]) -> Iterator[Image.Image]:
    """Yield sheets with a column for each method, its name above."""
    font = ImageFont.load_default(18)
    inner = slice(SCALE * MARGIN, -SCALE * MARGIN)
    width, height = SCALE * (WIDTH - 2 * MARGIN), SCALE * (HEIGHT - 2 * MARGIN)
    for start in range(0, len(CASES), CASES_PER_SHEET):
        size = ((width + GAP) * len(columns) - GAP, TITLE + (height + GAP) * CASES_PER_SHEET - GAP)
        sheet = Image.new("RGB", size, "white")
        for column, (method, pictures) in enumerate(columns.items()):
            left = column * (width + GAP)
            ImageDraw.Draw(sheet).text((left + 4, 2), method, "black", font)
            for row, picture in enumerate(pictures[start : start + CASES_PER_SHEET]):
                sheet.paste(Image.fromarray(picture[inner, inner]), (left, TITLE + row * (height + GAP)))
        yield sheet


def write_rating_page(page: Path) -> None:
    """Write a page on which people rate RATED on all cases, without their names."""
    with tempfile.TemporaryDirectory() as name:
        for case in (*CASES, *MORE_CASES):
            Image.fromarray(make_case(case)).save(Path(name) / f"{case.name.replace(' ', '-')}.png")
        models = [word for method in RATED for word in ("-m", method)]
        command = [sys.executable, "-m", "srcli", "compare", name, f"-x{SCALE}", *models, "--rate"]
        subprocess.run([*command, "-o", str(page), "--overwrite"], check=True)


def main() -> None:
    """Draw the sheets, write the figures and print their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[], help="one more model, or a weight file")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the sheets")
    parser.add_argument(
        "--rate", type=Path, metavar="PAGE", help="write a page for blind rating, and no more"
    )
    arguments = parser.parse_args()
    if arguments.rate:
        write_rating_page(arguments.rate)
        return
    spoilt = [make_case(case) for case in CASES]
    Image.fromarray(spoilt[PHONE]).save(arguments.out / "phone.png")
    methods = (*METHODS[:-1], *arguments.model, TEACHER)
    columns = {Path(method).stem: upscale_all(method, spoilt) for method in methods}
    figures = {
        method: [measure(*pair) for pair in zip(results, columns[TEACHER], strict=True)]
        for method, results in columns.items()
    }
    for number, sheet in enumerate(draw_sheets(columns), 1):
        sheet.save(arguments.out / f"spoilt-{number}.webp", quality=80, method=6)
    if not arguments.model:
        text = json.dumps({"cases": [asdict(case) for case in CASES], "figures": figures}, indent=1)
        RESULTS.write_text(text + "\n")
    for method, rows in figures.items():
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        print(f"{method:20}", "  ".join(f"{name} {value:.3f}" for name, value in means.items()))


if __name__ == "__main__":
    main()
