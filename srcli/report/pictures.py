"""Sheets of labelled crops: the same region of every result side by side, with scores and error maps."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srcli.errors import UsageError
from srcli.imaging.color import luma
from srcli.imaging.pixels import Pixels, Plane, to_uint8
from srcli.imaging.resize import resize

# An error of this share of the data range is drawn at full brightness.
_FULL_ERROR = 0.15
_SHORTEST_SIDE = 240
_MARGIN = 8
_FONT_SIZE, _HEADING_SIZE = 15, 18
_LINE = 19
_COLUMNS = 6


@dataclass(frozen=True)
class Region:
    """A rectangle, in pixels of the low-resolution image."""

    y: int
    x: int
    height: int
    width: int

    def crop(self, pixels: Pixels, low_height: int) -> Pixels:
        """Return the region of an image of any size; `low_height` is that of the low-resolution image."""
        factor = pixels.shape[0] / low_height
        top, left, bottom, right = (
            round(side * factor) for side in (self.y, self.x, self.y + self.height, self.x + self.width)
        )
        return pixels[top:bottom, left:right]

    def is_inside(self, lr: Pixels) -> bool:
        """Return whether the low-resolution image contains the region."""
        fits_across = 0 <= self.x < self.x + self.width <= lr.shape[1]
        return bool(fits_across and 0 <= self.y < self.y + self.height <= lr.shape[0])

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


def parse_region(text: str) -> Region:
    """Return the region of a text `X,Y,WIDTH,HEIGHT`. Raises `UsageError` for other texts."""
    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError as error:
        hint = "for example --crop 10,20,64,64"
        raise UsageError(f"--crop {text} is not X,Y,WIDTH,HEIGHT", hint) from error
    return Region(y, x, height, width)


@dataclass(frozen=True)
class Panel:
    """One crop of a sheet; an empty `score` and an `error` of None are left out."""

    label: str
    crop: Pixels
    score: str = ""
    error: Pixels | None = None


@dataclass(frozen=True)
class LabelledPanels:
    """The panels of one image, under its name."""

    name: str
    panels: tuple[Panel, ...]


def find_busiest(lr: Pixels, side: int) -> Region:
    """Return the square of at most `side` pixels with the most detail: the largest sum of gradients."""
    plane = luma(lr)
    steps = np.zeros_like(plane)
    steps[1:] += np.abs(np.diff(plane, axis=0))
    steps[:, 1:] += np.abs(np.diff(plane, axis=1))
    return find_densest(steps, side)


def find_densest(weights: Plane, side: int) -> Region:
    """Return the square of at most `side` pixels with the largest sum of `weights` (H, W)."""
    height, width = (min(side, n) for n in weights.shape)
    total = np.pad(weights.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    y, x = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Region(int(y), int(x), height, width)


def draw_error_map(sr: Pixels, hr: Pixels) -> Pixels:
    """Draw the absolute difference of luma: black for none, white from 0.15 of the data range."""
    difference = np.abs(luma(sr) - luma(hr)) / np.float32(_FULL_ERROR)
    return np.repeat(np.clip(difference, 0, 1)[..., None], 3, axis=2)


def draw_sheet(panels: list[Panel], heading: str = "") -> Pixels:
    """Draw all panels on a white sheet, at most six in a row, each with its label above its pictures."""
    tiles = [_draw_tile(panel) for panel in panels]
    columns = -(-len(tiles) // -(-len(tiles) // _COLUMNS))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(sum(tile.width + _MARGIN for tile in row) for row in rows) + _MARGIN
    top = _MARGIN + (_LINE + _MARGIN if heading else 0)
    height = sum(max(tile.height for tile in row) + _MARGIN for row in rows) + top
    page = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(page).text((_MARGIN, _MARGIN), heading, "black", ImageFont.load_default(_HEADING_SIZE))
    for row in rows:
        left = _MARGIN
        for tile in row:
            page.paste(tile, (left, top))
            left += tile.width + _MARGIN
        top += max(tile.height for tile in row) + _MARGIN
    return np.asarray(page, np.float32) / np.float32(255)


def stack_sheets(sheets: list[Pixels]) -> Pixels:
    """Stack sheets vertically on white."""
    width = max(one.shape[1] for one in sheets)
    return np.concatenate(
        [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=1) for s in sheets]
    )


def _draw_tile(panel: Panel) -> Image.Image:
    """Draw label and score, the crop below them, and its error map below that."""
    pictures = [
        Image.fromarray(to_uint8(magnify(picture, _SHORTEST_SIDE)))
        for picture in (panel.crop, panel.error)
        if picture is not None
    ]
    lines = [line for line in (panel.label, panel.score) if line]
    font = ImageFont.load_default(_FONT_SIZE)
    text = max(int(font.getlength(line)) + 1 for line in lines)
    top = _LINE * len(lines)
    height = top + sum(picture.height for picture in pictures) + 2 * (len(pictures) - 1)
    tile = Image.new("RGB", (max(text, pictures[0].width), height), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(tile).text((0, number * _LINE), line, "black", font)
    for picture in pictures:
        tile.paste(picture, (0, top))
        top += picture.height + 2
    return tile


def magnify(crop: Pixels, side: int) -> Pixels:
    """Magnify a crop by a whole factor to at least `side` pixels on each side, without smoothing."""
    factor = max(1, -(-side // min(crop.shape[:2])))
    return resize(crop, crop.shape[0] * factor, crop.shape[1] * factor, "nearest")
