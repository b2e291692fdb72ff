"""Draw the pictures of the four pages by wish (photographs, old scans, drawings, papers), and of the models.

    PYTHONPATH=. python tools/wish_pictures.py [photographs old-scans denoise faces drawings bundled figures]

Each is a sheet of `sr compare`, or a figure for a paper. The scan and the drawing are made here, always the
same. Needs the extras photo, plots and waifu2x.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from srcli import manifest
from srcli.cli.app import run
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import read_image
from srcli.imaging.pixels import from_uint8, to_uint8
from srcli.imaging.resize import resize
from srcli.methods import MethodOptions, load_method, load_methods
from srcli.report.comparisons import ComparisonSource, find_differences, load_comparison, run_method
from srcli.report.paper_figure import build_figure_scene, write_figure
from srcli.report.pictures import Panel, draw_sheet, stack_sheets
from tools import picture_cases

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SAMPLES = ROOT / "srcli" / "samples"
NOISE = 7  # of 255 levels


def draw_scan(target: Path) -> None:
    """Make an old print of a photograph: faded and brown, with grain, dust and scratches, saved as JPEG."""
    random, noise = Random(1), np.random.default_rng(1)
    small = to_uint8(downscale_bicubic(read_image(SAMPLES / "camera.png").pixels, 2))
    grey = Image.fromarray(small).convert("L")
    brown = ImageOps.colorize(grey, (48, 34, 26), (238, 224, 196), (150, 122, 92))
    grain = noise.normal(0, NOISE, (brown.height, brown.width, 1))
    print_ = Image.fromarray(np.clip(np.asarray(brown) + grain, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(print_)
    for _ in range(6):
        x, y, length = (
            random.randrange(print_.width),
            random.randrange(print_.height),
            random.randrange(10, 60),
        )
        draw.line((x, y, x + random.randrange(-1, 2), y + length), fill=(232, 220, 200))
    for _ in range(40):
        x, y = random.randrange(print_.width), random.randrange(print_.height)
        draw.point((x, y), fill=random.choice([(60, 44, 34), (236, 224, 204)]))
    print_.save(target, quality=70)


def draw_drawing(target: Path) -> None:
    """Draw a cat in a landscape with outlines and flat colours, at four times the size, and downscale it."""
    zoom, width, height = 8, 160, 120
    sheet = Image.new("RGB", (width * zoom, height * zoom), (150, 205, 240))
    draw = ImageDraw.Draw(sheet)
    ink, line = (40, 32, 48), 2 * zoom

    def scale(*values: float) -> list[float]:
        return [value * zoom for value in values]

    draw.ellipse(scale(112, 10, 140, 38), (255, 226, 110), ink, line)
    draw.ellipse(scale(-40, 78, 110, 200), (126, 190, 96), ink, line)
    draw.ellipse(scale(60, 86, 220, 220), (98, 168, 88), ink, line)
    draw.ellipse(scale(44, 62, 104, 130), (244, 164, 84), ink, line)
    for ear in ((42, 20, 52, 48, 68, 34), (106, 20, 96, 48, 80, 34)):
        draw.polygon(scale(*ear), (244, 164, 84), ink, line)
    draw.ellipse(scale(42, 26, 106, 82), (244, 164, 84), ink, line)
    for x in (58, 80):
        draw.ellipse(scale(x, 42, x + 11, 60), (255, 255, 255), ink, line // 2)
        draw.ellipse(scale(x + 3, 47, x + 9, 58), (40, 120, 84))
        draw.ellipse(scale(x + 5, 49, x + 8, 53), (255, 255, 255))
    draw.polygon(scale(70, 64, 78, 64, 74, 69), (226, 96, 112), ink, line // 2)
    for start, end in (
        ((52, 66), (28, 62)),
        ((52, 70), (28, 72)),
        ((96, 66), (120, 62)),
        ((96, 70), (120, 72)),
    ):
        draw.line(scale(*start, *end), ink, zoom)
    draw.arc(scale(65, 66, 74, 76), 20, 170, ink, line // 2)
    draw.arc(scale(74, 66, 83, 76), 10, 160, ink, line // 2)
    sheet.resize((width, height), Image.Resampling.BOX).save(target, quality=80)


def draw_small(name: str, folder: Path) -> Path:
    """Write a sample downscaled by 4 into a folder, and return it."""
    path = folder / f"{name}.png"
    Image.fromarray(to_uint8(downscale_bicubic(read_image(SAMPLES / path.name).pixels, 4))).save(path)
    return path


def compare(name: str, images: list[Path], words: list[str], models: tuple[str, ...]) -> None:
    """Write docs/NAME.webp."""
    chosen = [word for model in models for word in ("-m", model)]
    sheet = images[0].with_name(f"{name}-sheet.png")
    if run(["compare", *map(str, images), "-x4", *words, *chosen, "--preview", "none", "-o", str(sheet)]):
        sys.exit(f"docs/{name}.webp could not be made")
    Image.open(sheet).convert("RGB").save(DOCS / f"{name}.webp", quality=88, method=6)


def draw_denoising(scan: Path) -> None:
    """Write docs/denoise.webp: a part of the scan at several amounts of `--denoise`, and of `--strength`."""
    panels = []
    for option, amount in (("denoise", 0.0), ("denoise", 0.5), ("denoise", 1.0), ("strength", 0.5)):
        large = scan.with_name("large.png")
        words = ["upscale", str(scan), "-x4", "-m", "photo", f"--{option}", f"{amount:g}", "-o", str(large)]
        if run([*words, "--overwrite", "-q"]):
            sys.exit("docs/denoise.webp could not be made")
        panels.append(Panel(f"--{option} {amount:g}", read_image(large).pixels[100:380, 320:620]))
    Image.fromarray(to_uint8(draw_sheet(panels, ""))).save(DOCS / "denoise.webp", quality=85, method=6)


def draw_faces(folder: Path) -> None:
    """Write docs/faces.webp: a face of 30 pixels, spoilt, by realesrgan with and without `--faithful`."""
    small = downscale_bicubic(read_image(SAMPLES / "astronaut.png").pixels[:260, 100:360], 4)
    noisy = picture_cases.add_noise(Image.fromarray(to_uint8(small)), np.random.default_rng(0), 7, grey=False)
    spoilt, large = folder / "face.jpg", folder / "large-face.png"
    noisy.save(spoilt, quality=50)
    panels = []
    for label, words in (
        ("bicubic", ["-m", "bicubic"]),
        ("realesrgan --no-faithful", ["-m", "realesrgan", "--no-faithful"]),
        ("realesrgan", ["-m", "realesrgan"]),
    ):
        if run(["upscale", str(spoilt), "-x4", *words, "-o", str(large), "--overwrite", "-q"]):
            sys.exit("docs/faces.webp could not be made")
        panels.append(Panel(label, read_image(large).pixels))
    Image.fromarray(to_uint8(draw_sheet(panels))).save(DOCS / "faces.webp", quality=85, method=6)


def draw_figure(truth: Path, models: list[str]) -> None:
    """Write docs/paper-figure.webp: what `sr compare -o figure.pdf` makes, for a browser."""
    comparison = load_comparison(ComparisonSource(truth, is_truth=True), 4)
    methods = load_methods(models, [], 4, MethodOptions())
    results = [run_method(method, comparison, 4) for method in methods]
    (region,) = find_differences(comparison, results, 1)
    sheet = truth.with_name("figure.png")
    write_figure(sheet, [build_figure_scene(comparison, results, region, 4)])
    Image.open(sheet).convert("RGB").save(DOCS / "paper-figure.webp", quality=88, method=6)


def draw_bundled(drawing: Path) -> None:
    """Write docs/bundled-models.webp: each bundled model on a picture of the kind that it is for, at x4."""
    small = downscale_bicubic(read_image(SAMPLES / "chelsea.png").pixels, 4)[6:66, 18:98]
    noisy = picture_cases.add_noise(Image.fromarray(to_uint8(small)), np.random.default_rng(2), 9, grey=False)
    spoilt = from_uint8(np.asarray(picture_cases.save_as_jpeg(noisy, 60)))
    drawn = read_image(drawing).pixels[16:76, 40:120]
    entries = {entry.model: entry for entry in manifest.load_own() if entry.bundled and entry.scale == 4}
    sheets = []
    for heading, purpose, pixels in (
        ("a clean picture", "classical", small),
        ("with noise and JPEG blocks", "real-world", spoilt),
        ("a drawing, with JPEG blocks", "drawings", drawn),
    ):
        names = [name for name, entry in entries.items() if entry.purpose == purpose]
        panels = [Panel("bicubic", resize(pixels, pixels.shape[0] * 4, pixels.shape[1] * 4).clip(0, 1))]
        panels += [Panel(name, load_method(name, 4, MethodOptions())(pixels, 4)) for name in names]
        sheets.append(draw_sheet(panels, heading))
    Image.fromarray(to_uint8(stack_sheets(sheets))).save(DOCS / "bundled-models.webp", quality=85, method=6)


def main() -> None:
    """Draw the pictures that are named, or all."""
    names = sys.argv[1:] or ["photographs", "old-scans", "denoise", "faces", "drawings", "bundled", "figures"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, drawing, truth = folder / "scan.jpg", folder / "drawing.jpg", folder / "truth.png"
        draw_scan(scan)
        draw_drawing(drawing)
        shutil.copy(SAMPLES / "astronaut.png", truth)
        if "photographs" in names:
            small = draw_small("astronaut", folder)
            compare("photographs", [small], ["--crop", "38,15,42,40"], ("bicubic", "fsrcnn", "slimres"))
        if "old-scans" in names:
            compare(
                "old-scans", [scan], ["--crop", "70,20,100,80"], ("bicubic", "slimres", "photo-lite", "photo")
            )
        if "denoise" in names:
            draw_denoising(scan)
        if "faces" in names:
            draw_faces(folder)
        if "drawings" in names:
            models = ("bicubic", "slimres", "anime", "waifu2x-n1", "realesrgan-anime")
            compare("drawings", [drawing], ["--crop", "40,16,72,60"], models)
        if "bundled" in names:
            draw_bundled(drawing)
        if "figures" in names:
            compare("figures", [truth], ["--hr"], ("bicubic", "fsrcnn", "slimres"))
            draw_figure(truth, ["bicubic", "fsrcnn", "slimres"])


if __name__ == "__main__":
    main()
