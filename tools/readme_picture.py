"""Draw docs/before-after.webp, the picture at the top of README.md: bicubic above, the default model below.

    PYTHONPATH=. python tools/readme_picture.py

The bundled photographs are downscaled by 4 with bicubic and then upscaled by 4. The crops are magnified by 2
without smoothing, so that the page shows the very pixels that were computed.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srcli import methods
from srcli.imaging.degrade.degradations import downscale_bicubic
from srcli.imaging.image import read_image
from srcli.imaging.pixels import Pixels, to_uint8
from srcli.manifest import DEFAULT_MODEL

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "before-after.webp"
SCALE = 4
# Left and top of the crop in each photograph, in pixels of the original.
CROPS = {"astronaut": (152, 60), "coffee": (310, 210), "chelsea": (106, 56)}
WIDTH, HEIGHT, ZOOM = 150, 130, 2
MARGIN, LABEL = 6, 26


def draw_row(sheet: Image.Image, top: int, label: str, crops: list[Pixels]) -> None:
    """Paste a line of text and the crops below it, side by side."""
    ImageDraw.Draw(sheet).text((0, top), label, fill="black", font=ImageFont.load_default(16))
    for column, pixels in enumerate(crops):
        crop = Image.fromarray(to_uint8(pixels))
        large = crop.resize((WIDTH * ZOOM, HEIGHT * ZOOM), Image.Resampling.NEAREST)
        sheet.paste(large, (column * (WIDTH * ZOOM + MARGIN), top + LABEL))


def main() -> None:
    """Upscale, crop and draw."""
    rows: dict[str, list[Pixels]] = {"bicubic": [], DEFAULT_MODEL: []}
    for name, (left, top) in CROPS.items():
        reduced = downscale_bicubic(read_image(ROOT / "srcli" / "samples" / f"{name}.png").pixels, SCALE)
        for model, crops in rows.items():
            large = np.clip(methods.load_method(model, SCALE)(reduced, SCALE), 0, 1)
            crops.append(large[top : top + HEIGHT, left : left + WIDTH])
    row_height = LABEL + HEIGHT * ZOOM + MARGIN
    sheet = Image.new("RGB", (len(CROPS) * (WIDTH * ZOOM + MARGIN) - MARGIN, 2 * row_height), "white")
    draw_row(sheet, 0, f"before: x{SCALE} by bicubic", rows["bicubic"])
    draw_row(sheet, row_height, f"after: sr upscale -x{SCALE}", rows[DEFAULT_MODEL])
    sheet.save(PICTURE, quality=92, method=6)


if __name__ == "__main__":
    main()
